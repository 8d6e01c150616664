"""The student that a run made: where its weights are, and the system message it was trained with."""

from pathlib import Path
from typing import Any

from orcinus.core.errors import ConfigError
from orcinus.core.fingerprint import fingerprint
from orcinus.core.protocols import Completer
from orcinus.core.types import Message, Messages
from orcinus.models.configs import ModelConfig, SelfConfig, StudentConfig
from orcinus.models.local.config import LocalConfig, local_identity
from orcinus.models.open import open_completer
from orcinus.models.recorded_rows import Answered, AnsweredConfig
from orcinus.models.scratch import ScratchConfig
from orcinus.pipeline.recipe import Recipe
from orcinus.runs import tables
from orcinus.runs.context import Runtime
from orcinus.runs.folders import finished_steps, summary_of
from orcinus.tasks.open import content_of


def identity_of(config: StudentConfig | ModelConfig | AnsweredConfig, base: Path) -> dict[str, Any]:
    """What of a model's configuration decides its answers; addresses, keys and limits do not."""
    if isinstance(config, LocalConfig):
        return {"kind": "local", "model": local_identity(config, base)}
    return {"kind": config.kind, **config.identity()}


def student_config(recipe: Recipe, base: Path, folder: Path | None) -> LocalConfig:
    """Where the student's weights are: in the folder of a step that made them, or where the recipe says.

    Args:
        recipe: Whose student.
        base: The recipe's own folder.
        folder: A finished ``student`` or ``train`` step, or a model's own folder; None for the recipe's own.
    """
    student = recipe.student
    if not isinstance(student, LocalConfig | ScratchConfig):
        raise ConfigError(
            f"student: a model of kind {student.kind!r} cannot be trained; use kind local or scratch"
        )
    settings = student if isinstance(student, LocalConfig) else student.local()
    if folder is None:
        return settings.at(base)
    is_model = (folder / "config.json").exists()
    model = folder if is_model else folder / summary_of(folder)["summary"]["model"]
    return settings.model_copy(
        update={"path": str(model.resolve()), "revision": None, "adapter": None}
    )


class Models:
    """Opens the recipe's models on demand and closes what it opened."""

    def __init__(self, recipe: Recipe, base: Path, runtime: Runtime) -> None:
        self._recipe, self._base, self._runtime = recipe, base, runtime
        self._open: dict[tuple[str, Path | None], Completer] = {}

    def open(self, role: str, folder: Path | None = None) -> Completer:
        """The model of ``role``; see ``OpenCompleter``."""
        if role == "teacher" and isinstance(self._recipe.teacher, SelfConfig):
            role = "student"
        if role == "teacher" and isinstance(self._recipe.teacher, AnsweredConfig):
            return Answered(model=self._answered_by(self._recipe.teacher))
        if (role, folder) not in self._open:
            self._open[role, folder] = open_completer(
                self._config(role, folder),
                base=self._base,
                device=self._runtime.device,
                secrets=self._runtime.secrets,
                journal=self._runtime.batch_journal,
                replicas=self._runtime.replicas,
            )
        return self._open[role, folder]

    def _answered_by(self, teacher: AnsweredConfig) -> str:
        """The model's name with a hash of the rows, so that the ledger does not recall an answer that was changed since."""
        rows = [content_of(task, self._base) for task in self._recipe.tasks]
        return f"{teacher.model}@{fingerprint(rows, length=8)}"

    def _config(self, role: str, folder: Path | None) -> ModelConfig:
        if role == "student":
            return student_config(self._recipe, self._base, folder)
        if role == "teacher" and not isinstance(self._recipe.teacher, SelfConfig | AnsweredConfig):
            return self._recipe.teacher
        if role == "assistant" and self._recipe.assistant is not None:
            return self._recipe.assistant
        if role == "judge" and self._recipe.judge is not None:
            return self._recipe.judge
        raise ConfigError(f"the recipe has no model in the role {role!r}")

    async def aclose(self) -> None:
        """Close every open model."""
        while self._open:
            _, completer = self._open.popitem()
            await completer.aclose()


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
