"""The loss of each optimizer step of a training: a line of JSON each.

    append_loss(path, {"stage": "explanations", "optimizer_step": 1, "loss": 4.2, "lr": 0.0001})
    read_losses(path)  ──►  these rows, each step once

A kill or a full disk can cut a line off. An interrupted stage repeats its last steps.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from orcinus.core.errors import StoreError


def append_loss(path: Path, row: Mapping[str, Any]) -> None:
    """Append the row of one optimizer step, on a line of its own.

    Raises:
        StoreError: The file cannot be written.
    """
    line = orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)
    try:
        with path.open("ab+") as file:
            if file.tell():
                file.seek(-1, 2)
                if file.read(1) != b"\n":  # the line before was cut off
                    line = b"\n" + line
            file.write(line)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}") from error


def read_losses(path: Path) -> list[dict[str, Any]]:
    """Return the rows by stage and optimizer step; none where there is no file.

    A resumed stage takes the place of the steps that it repeats, and of those after them. Lines
    that were cut off are left out.
    """
    if not path.exists():
        return []
    stages: dict[str, dict[int, dict[str, Any]]] = {}
    for line in path.read_bytes().splitlines():
        try:
            row = orjson.loads(line)
            stage, step = str(row["stage"]), int(row["optimizer_step"])
        except (orjson.JSONDecodeError, KeyError, TypeError):
            continue
        steps = stages.setdefault(stage, {})
        while steps and next(reversed(steps)) >= step:
            steps.popitem()
        steps[step] = row
    return [row for steps in stages.values() for row in steps.values()]
