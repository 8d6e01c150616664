"""The models of a run by role: student, teacher, assistant, judge.

Models(roles, runtime).open("student", train_folder)   →   the Completer of the trained student
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orcinus.core.errors import ConfigError
from orcinus.core.imports import import_later
from orcinus.core.protocols import Completer
from orcinus.core.types import Message, Messages
from orcinus.models.configs import ModelConfig, SelfConfig, StudentConfig, TeacherConfig
from orcinus.models.local.config import LocalConfig, local_identity
from orcinus.models.local.trained import trained_system
from orcinus.models.recorded_rows import AnsweredConfig, AnsweredRows
from orcinus.models.scratch import ScratchConfig
from orcinus.runs import layout
from orcinus.runs.context import Runtime
from orcinus.runs.folders import finished_steps, model_made_by, summary_of

if TYPE_CHECKING:
    from orcinus.models import open as opening
    from orcinus.runs import tables
else:
    opening = import_later("orcinus.models.open")
    tables = import_later("orcinus.runs.tables")


@dataclass(frozen=True, slots=True, kw_only=True)
class Roles:
    """The models of a run by role, and the folder that their relative paths start from."""

    student: StudentConfig
    teacher: TeacherConfig
    assistant: ModelConfig | None = None
    judge: ModelConfig | None = None
    models: Mapping[str, ModelConfig] = field(default_factory=dict)
    """Further models by the names that authored tasks call them."""
    base: Path
    answers: str = ""
    """Hash of the tasks' rows where the teacher's answers are in them (``kind: answered``). It is
    part of that teacher's identity: the ledger never recalls an answer that has changed since."""


def identity_of(config: StudentConfig | ModelConfig | AnsweredConfig, base: Path) -> dict[str, Any]:
    """Return the part of a model's configuration that affects its answers.

    URLs, keys and limits are left out.

    Args:
        config: The model.
        base: Folder that relative paths start from.
    """
    if isinstance(config, LocalConfig):
        return {"kind": "local", "model": local_identity(config, base)}
    return {"kind": config.kind, **config.identity()}


def student_config(roles: Roles, folder: Path | None) -> LocalConfig:
    """Return the settings that open the student.

    Args:
        roles: The run's models.
        folder: A finished ``student`` or ``train`` step, or a model's own folder; None for the
            recipe's own student.

    Raises:
        ConfigError: The student is not a model that can be trained.
    """
    student = roles.student
    if not isinstance(student, LocalConfig | ScratchConfig):
        raise ConfigError(
            f"student: a model of kind {student.kind!r} cannot be trained; "
            "use kind local or scratch"
        )
    settings = student if isinstance(student, LocalConfig) else student.local()
    if folder is None:
        return settings.at(roles.base)
    is_model = (folder / "config.json").exists()
    model = folder if is_model else model_made_by(folder)
    return settings.model_copy(
        update={"path": str(model.resolve()), "revision": None, "adapter": None}
    )


class Models:
    """The open models of a run. Each is opened on first use; ``aclose`` closes them all.

    Args:
        roles: The models.
        runtime: Where and how fast.
        note: Gets the lines that an opened model has for the user.
    """

    def __init__(
        self, roles: Roles, runtime: Runtime, note: Callable[[str], None] | None = None
    ) -> None:
        self._roles, self._runtime, self._note = roles, runtime, note
        self._noted: set[str] = set()
        self._open: dict[tuple[str, Path | None], Completer] = {}

    def open(self, role: str, folder: Path | None = None) -> Completer:
        """Return the model of ``role``, as ``OpenCompleter`` says.

        Raises:
            ConfigError: The recipe has no such model, or it cannot be opened.
        """
        if role == "teacher" and isinstance(self._roles.teacher, SelfConfig):
            role = "student"
        if role == "teacher" and isinstance(self._roles.teacher, AnsweredConfig):
            return AnsweredRows(model=f"{self._roles.teacher.model}@{self._roles.answers}")
        if (role, folder) not in self._open:
            self._open[role, folder] = opening.open_completer(
                self._config(role, folder),
                base=self._roles.base,
                device=self._runtime.device,
                secrets=self._runtime.secrets,
                journal=self._runtime.batch_journal,
                replicas=self._runtime.replicas,
                entry=role,
                note=self._note_once,
            )
        return self._open[role, folder]

    def _note_once(self, text: str) -> None:
        """Show a line of a model, once although the model is opened for several steps."""
        if self._note is not None and text not in self._noted:
            self._noted.add(text)
            self._note(text)

    def _config(self, role: str, folder: Path | None) -> ModelConfig:
        if role == "student":
            return student_config(self._roles, folder)
        if role == "teacher" and not isinstance(self._roles.teacher, SelfConfig | AnsweredConfig):
            return self._roles.teacher
        if role == "assistant" and self._roles.assistant is not None:
            return self._roles.assistant
        if role == "judge" and self._roles.judge is not None:
            return self._roles.judge
        if role in self._roles.models:
            return self._roles.models[role]
        raise ConfigError(f"the recipe has no model in the role {role!r}")

    async def aclose(self) -> None:
        """Close every open model."""
        while self._open:
            _, completer = self._open.popitem()
            await completer.aclose()


def trained_student(run_dir: Path) -> tuple[LocalConfig, Messages]:
    """Return the latest trained student, and the turns that precede a question to it.

    Raises:
        ConfigError: The run has not trained one yet.
    """
    folder = finished_steps(run_dir, "train")[0]
    model = model_made_by(folder).resolve()
    config = LocalConfig(path=str(model))
    if trained_system(model) is not None:
        return config, turns_before(model)
    # A student of an earlier version: the message of its first lesson.
    lessons = run_dir / summary_of(folder)["inputs"]["erase"] / layout.LESSONS
    lesson = next(tables.read_lessons(lessons))
    before = tuple(message for message in lesson.messages[:1] if message.role == "system")
    return config, before


def turns_before(model: Path) -> Messages:
    """Return the turns that precede a question to the model in a folder, where it names any."""
    system = trained_system(model)
    return (Message(role="system", content=system),) if system else ()


def question_to(student: Messages, text: str) -> Messages:
    """Return the conversation that asks a trained student ``text``.

    Args:
        student: The turns that precede a question, from ``trained_student``.
        text: The question.
    """
    return (*student, Message(role="user", content=text))
