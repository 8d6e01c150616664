"""The student that a run made: where its weights are, and the system message it was trained with."""

from pathlib import Path

from orcinus.completers.local_config import LocalConfig
from orcinus.lineage import finished_steps
from orcinus.pipeline import summary_of
from orcinus.store import tables
from orcinus.types import Message, Messages


def trained_student(run_dir: Path) -> tuple[LocalConfig, Messages]:
    """The latest student trained on explanations, and the turns that stand before a question to it.

    Raises:
        ConfigError: The run has not trained one yet.
    """
    folder = finished_steps(run_dir, "train")[0]
    record = summary_of(folder)
    config = LocalConfig(path=str((folder / record["summary"]["model"]).resolve()))
    lesson = next(tables.read_lessons(run_dir / record["inputs"]["erase"] / "lessons.parquet"))
    return config, tuple(message for message in lesson.messages[:1] if message.role == "system")


def question_to(student: Messages, text: str) -> Messages:
    """What the student is given when it is asked ``text``."""
    return (*student, Message(role="user", content=text))
