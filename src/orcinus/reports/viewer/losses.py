"""Read the loss of trainings that are going on or done, as lines for a small chart.

train-91c0ab12/loss.jsonl ──losses_of──► LossLine: "explanations", step 120, 0.412, points to draw
"""

from dataclasses import dataclass
from pathlib import Path

from orcinus.runs import layout
from orcinus.runs.losses import read_losses

CHART_WIDTH, CHART_HEIGHT = 600, 140
"""Units of the chart's view box, about pixels on a wide page."""
CHART_POINTS = 200
"""Points of a line at most: one for each 3 units of the width."""
ARM_OF_STEP = {"train": "after", "train-answer_only": "answer_only"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LossLine:
    """The loss of one training, oldest value first."""

    arm: str
    stage: str
    """Of the last value."""
    optimizer_step: int
    """Of the last value, within its stage."""
    loss: float
    """The last value, in nats for each response token."""
    highest: float
    points: str
    """Of an SVG ``polyline`` within the chart's view box; its top is ``highest``."""


def losses_of(run_dir: Path) -> list[LossLine]:
    """Return the loss of the newest training of each arm that has one."""
    newest: dict[str, Path] = {}
    for path in sorted(run_dir.glob(f"train*-*/{layout.LOSS}"), key=lambda p: p.stat().st_mtime):
        if arm := ARM_OF_STEP.get(path.parent.name.rpartition("-")[0]):
            newest[arm] = path
    lines = (_line(arm, newest[arm]) for arm in ARM_OF_STEP.values() if arm in newest)
    return [line for line in lines if line is not None]


def _line(arm: str, path: Path) -> LossLine | None:
    rows = read_losses(path)
    if not rows:
        return None
    values = [row["loss"] for row in rows]
    width = -(-len(values) // CHART_POINTS)
    means = [
        sum(part) / len(part)
        for part in (values[i : i + width] for i in range(0, len(values), width))
    ]
    highest = max(means) or 1.0
    across = CHART_WIDTH / max(1, len(means) - 1)
    return LossLine(
        arm=arm,
        stage=rows[-1]["stage"],
        optimizer_step=rows[-1]["optimizer_step"],
        loss=rows[-1]["loss"],
        highest=highest,
        points=" ".join(
            f"{i * across:.1f},{CHART_HEIGHT * (1 - mean / highest):.1f}"
            for i, mean in enumerate(means)
        ),
    )
