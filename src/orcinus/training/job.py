"""A train step as data, for this process, for several, or for other machines.

TrainJob(config=…, student=…, lessons=…, out=…, seed=0, …).write() ──► train-91c0ab12/job.json
"""

from pathlib import Path
from typing import Self

import orjson
from pydantic import Field

from orcinus.core.config import Config
from orcinus.core.errors import ConfigError
from orcinus.core.files import write_atomically
from orcinus.core.registry import recipe_folder
from orcinus.models.local.config import LocalConfig
from orcinus.runs import layout
from orcinus.training.config import TrainConfig


class TrainJob(Config):
    """One train step, as ``train_curriculum`` and the worker processes read it."""

    config: TrainConfig
    student: LocalConfig
    """The model to start from."""
    lessons: Path
    """A ``lessons.parquet``."""
    out: Path
    """The folder for the stages."""
    seed: int
    """Decides packing, order and adapters."""
    micro_batch: int | None
    """Packed rows of one forward pass; None means one."""
    device: str
    """``auto``, ``cpu``, ``cuda`` …"""
    steps: tuple[int, ...] = ()
    """Optimizer steps of each stage of ``config``; empty lets the batches decide."""
    first: int = 0
    """Place of the first stage to learn, from 0; ``student`` has learnt those before it."""

    examples: Path | None = None
    """The ``examples.parquet`` of the lessons' questions, for ``reinforce`` stages."""
    prompted: Path | None = None
    """A table of the same lessons with the messages of their strategies, for stages whose teacher
    reads these; None where there is none."""
    rehearsed: dict[int, Path] = Field(default_factory=dict)
    """By place of a stage, from 0, the lessons with the answers of the student that begins it."""
    anchors: Path | None = None
    """The questions that an objective compares lessons with, as a table of lessons."""
    modules: Path | None = None
    """Folder of the recipe, whose modules an objective may name; None where there is none."""

    def lessons_at(self, place: int) -> Path:
        """Return the table of the lessons that the stage at ``place`` learns from.

        Raises:
            ConfigError: The student has yet to answer the taught questions again.
        """
        if place in self.config.rehearsed_again and place not in self.rehearsed:
            raise ConfigError(
                f"stage {self.config.stages[place].name!r} asks the student again (rehearse: true),"
                " which `orcinus run` does on one machine"
            )
        return self.rehearsed.get(place, self.lessons)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Return the job that ``write`` left at ``path``."""
        content = orjson.loads(path.read_bytes())
        with recipe_folder(Path(content.get("modules") or path.parent)):
            return cls.model_validate(content)

    def write(self) -> Path:
        """Write ``job.json`` into the step's folder and return its path."""
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / layout.JOB
        write_atomically(
            path, orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_INDENT_2)
        )
        return path
