"""Read and write what trial students showed: which strategy teaches them how much.

trials.json       the groups that were tried, and what each trial student learned from
attempts.parquet  their answers; an attempt's strategy is the one that its student was taught
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Self

import orjson

from orcinus.core.files import write_atomically
from orcinus.core.types import Judged
from orcinus.runs import layout, tables


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialStudent:
    """One trial student: what it learned from, and how it answered."""

    wave: int
    """From 1; each wave is longer than the one before."""
    strategy: str
    lessons: int
    optimizer_steps: int
    passes: float
    learnt_tokens: int
    """Response tokens, each pass counted."""
    seconds: float
    """Of its training."""
    mean: float | None
    low: float | None
    high: float | None
    """Accuracy on the probe examples that choose, with its 95 % interval."""
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResults:
    """The results of all trial students."""

    groups: tuple[str, ...]
    """The groups that were tried: those where the probe could not tell, or all."""
    final: tuple[str, ...]
    """The strategies of the last wave. The others had no chance left, or no lesson."""
    students: tuple[TrialStudent, ...]
    fresh: tuple[tuple[str, str], ...]
    """(task, example id) of the answers that only measure the chosen strategy again."""
    dropped: Mapping[str, str]
    """Why a strategy was not tried, by its name."""
    answers: tuple[Judged, ...] = ()
    """The answers of each strategy's last trial student."""

    @classmethod
    def read(cls, folder: Path | None, *, answers: bool = True) -> Self:
        """Read the folder of a finished ``trial`` step; None gives results without a group."""
        if folder is None:
            return cls(groups=(), final=(), students=(), fresh=(), dropped={})
        content = orjson.loads((folder / layout.TRIAL_RESULTS).read_bytes())
        return cls(
            groups=tuple(content["groups"]),
            final=tuple(content["final"]),
            students=tuple(TrialStudent(**item) for item in content["students"]),
            fresh=tuple((task, example) for task, example in content["fresh"]),
            dropped=content["dropped"],
            answers=tuple(tables.read_judged(folder / layout.ATTEMPTS)) if answers else (),
        )

    def write(self, folder: Path) -> None:
        """Write both files into ``folder``."""
        with tables.TableWriter(folder / layout.ATTEMPTS, tables.JUDGED) as writer:
            for judged in self.answers:
                writer.write(tables.judged_row(judged))
        content = asdict(replace(self, answers=()))
        del content["answers"]
        path = folder / layout.TRIAL_RESULTS
        write_atomically(path, orjson.dumps(content, option=orjson.OPT_INDENT_2))
