"""The losses of a training that was cut off and resumed."""

from pathlib import Path

import pytest

from orcinus.core.errors import StoreError
from orcinus.runs.losses import append_loss, read_losses


def row(step: int, loss: float, stage: str = "one") -> dict[str, object]:
    return {"stage": stage, "optimizer_step": step, "loss": loss}


def test_a_line_that_was_cut_off_is_left_out_and_spoils_no_other(tmp_path: Path) -> None:
    path = tmp_path / "loss.jsonl"
    for step in (1, 2, 3):
        append_loss(path, row(step, 1.0))
    path.write_bytes(path.read_bytes()[:-12])
    assert read_losses(path) == [row(1, 1.0), row(2, 1.0)]
    append_loss(path, row(3, 0.5))
    append_loss(path, row(1, 2.0, "two"))
    assert read_losses(path) == [row(1, 1.0), row(2, 1.0), row(3, 0.5), row(1, 2.0, "two")]


def test_a_resumed_stage_takes_the_place_of_the_steps_that_it_repeats(tmp_path: Path) -> None:
    path = tmp_path / "loss.jsonl"
    assert read_losses(path) == []
    for step in (1, 2, 3, 4, 2):
        append_loss(path, row(step, float(step)))
    assert [row["optimizer_step"] for row in read_losses(path)] == [1, 2]


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "loss.jsonl"
    path.symlink_to("/dev/full")
    with pytest.raises(StoreError, match=r"loss\.jsonl: cannot be written: No space left"):
        append_loss(path, row(1, 1.0))
