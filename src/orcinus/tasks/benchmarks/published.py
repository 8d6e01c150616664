"""Figures that others published, with source and protocol, to show beside our own measurements."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import yaml


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One cell of a published table."""

    column: str
    model: str
    value: float
    """As printed: per cent, or a rating from 1 to 10."""
    protocol: str
    """How it was measured, as far as the source says."""
    address: str


def published(columns: Iterable[str]) -> Iterator[Published]:
    """Yield the figures of these columns."""
    wanted = set(columns)
    table = _table()
    for row in table["rows"]:
        if row["column"] in wanted:
            for model, value in row["values"].items():
                yield Published(
                    column=row["column"],
                    model=model,
                    value=float(value),
                    protocol=row["protocol"],
                    address=table["sources"][row["source"]],
                )


@cache
def _table() -> dict[str, Any]:
    text = files("orcinus.tasks.benchmarks").joinpath("_published.yaml").read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.safe_load(text)
    return data
