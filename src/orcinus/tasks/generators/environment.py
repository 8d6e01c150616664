"""Tasks of `verifiers` environments: their questions, judged by their own rewards.

    {environment: gsm8k, count: 300}   →   "Natalia sold clips to 48 of her friends …"

The environment is a Python package that you install (``prime env install …``, or pip): a taskset
since ``verifiers`` 0.4 (``tasksets.py``), a ``load_environment`` before. orcinus asks its questions
itself, so that probing, teaching and the ledger work as with any task; the environment only gives
the questions and, by its rewards, the verdicts (``environment_verifier.py``). Example i depends on
the environment, its arguments and i alone.
"""

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import Field, ValidationError

from orcinus.core.config import Config
from orcinus.core.errors import ConfigError, MissingExtraError, OrcinusError, one_line
from orcinus.core.guard import guard
from orcinus.core.imports import import_later
from orcinus.core.types import AnswerType, Example
from orcinus.tasks.generators.tasksets import BUILT_IN, TasksetRows, asks_a_model, open_taskset

if TYPE_CHECKING:
    from orcinus.tasks.files import drafts, examples
else:
    drafts = import_later("orcinus.tasks.files.drafts")
    examples = import_later("orcinus.tasks.files.examples")

VERIFIER = "environment"
TASKSETS_SINCE = (0, 4)
"""The release of ``verifiers`` that has tasksets alone; before it, ``load_environment``."""
_INFERRED_FROM = 64
"""Rows. The answer type is inferred from the first ones."""


class EnvironmentConfig(Config):
    """A task of a ``verifiers`` environment (extra ``environments``), judged by its rewards."""

    environment: str
    """Name of the environment's package, e.g. ``gsm8k``; it must be installed."""
    name: str | None = None
    """Name of the task; None takes the environment's."""
    count: int = Field(default=300, ge=1)
    """How many of its rows are read, the first ones."""
    settings: Mapping[str, Any] = Field(default_factory=dict)
    """The fields of its taskset's configuration; before ``verifiers`` 0.4 the arguments of its
    ``load_environment``."""
    right: float = 1.0
    """The reward from which an answer is right. Environments sum rewards as they like."""
    collection: str | None = None
    """The collection the task belongs to, for quotas."""

    def identity(self) -> dict[str, Any]:
        """Return what decides the examples.

        Raises:
            ConfigError: The environment is not installed.
            MissingExtraError: ``verifiers`` is not installed.
        """
        package = _package_version()
        return {**self.model_dump(mode="json"), "version": package, "code": self._code()}

    def _code(self) -> str:
        """Return the version of the environment's package, or the hash of its module."""
        with suppress(PackageNotFoundError, ValueError):
            return version(self.environment)
        name = self.environment.replace("-", "_")
        for place in (name, f"{BUILT_IN}.{name}"):
            with suppress(ImportError, ValueError, OSError):  # of names that no module can have
                module = find_spec(place)
                if module is None or module.origin is None:
                    continue
                content = Path(module.origin).read_bytes()
                return hashlib.blake2b(content, digest_size=16).hexdigest()
        raise ConfigError(
            f"the environment {self.environment!r} is not installed; "
            "install its package, or put its module on PYTHONPATH"
        )


def _package_version() -> str:
    try:
        return version("verifiers")
    except PackageNotFoundError as error:
        raise MissingExtraError("a task of a verifiers environment", "environments") from error


def draw_environment(config: EnvironmentConfig) -> Iterator[Example]:
    """Yield the examples of ``config`` in the order of the environment's rows.

    Raises:
        ConfigError: The environment cannot be loaded, or its rows are no single questions.
        MissingExtraError: ``verifiers`` is not installed.
        StepError: The environment raised while its rows were read.
    """
    made = {"environment": config.environment, "settings": dict(config.settings)}
    rows = rows_of(orjson.dumps(made))
    first = list(islice(rows, min(config.count, _INFERRED_FROM)))
    if not first:
        raise ConfigError(f"the environment {config.environment!r} has no rows")
    yield from examples_of(first, islice(rows, config.count), config, made)


def examples_of(
    first: Sequence[Mapping[str, Any]],
    rows: Iterator[Mapping[str, Any]],
    config: EnvironmentConfig,
    made: Mapping[str, Any],
) -> Iterator[Example]:
    """Yield an example for each row.

    Args:
        first: The rows from which the answer type is inferred.
        rows: All rows: ``prompt`` (messages) and, where there is one, ``answer``.
        config: The task.
        made: What the verifier needs to open the environment again.
    """
    known = [drafts.RowDraft(prompt="", reference=_answer(row)) for row in first]
    found = examples.infer_answer_type(known)
    answer_type: AnswerType = found if found in ("number", "bool", "math", "exact") else "free"
    task = config.name or config.environment
    extra = {} if config.collection is None else {"collection": config.collection}
    for place, row in enumerate(rows):
        history, prompt = _question(row, f"{config.environment}: row {place}")
        yield Example(
            id=f"{config.environment}-{place}",
            task=task,
            prompt=prompt,
            answer_type=answer_type,
            reference=_answer(row),
            meta={
                "verifier": VERIFIER,
                "environment": made,
                "place": place,
                "right": config.right,
                **({"history": history} if history else {}),
                **extra,
            },
        )


def _answer(row: Mapping[str, Any]) -> str | None:
    answer = row.get("answer")
    return str(answer) if answer not in (None, "") else None


def _question(row: Mapping[str, Any], where: str) -> tuple[list[dict[str, str]], str]:
    """Return the turns before a row's question, and the question after the row's system message.

    The system message is kept because it says in which form the rewards expect the answer, and a
    strategy takes the place of the system message.
    """
    turns = row["prompt"]
    if isinstance(turns, str):
        turns = [{"role": "user", "content": turns}]
    said = [(str(turn["role"]), turn["content"]) for turn in turns]
    if not all(isinstance(text, str) for _, text in said):
        raise ConfigError(f"{where} is not a text alone (an image?); only texts are asked")
    system = [text for role, text in said if role in ("system", "developer")]
    roles = [role for role, _ in said if role not in ("system", "developer")]
    texts = [text for role, text in said if role not in ("system", "developer")]
    if roles != [("user", "assistant")[i % 2] for i in range(len(roles))] or len(roles) % 2 == 0:
        raise ConfigError(
            f"{where} has turns by {', '.join(roles) or 'nobody'}; "
            "user and assistant must take turns, and the last must be the user's"
        )
    turns = [
        {"role": role, "content": text} for role, text in zip(roles[:-1], texts[:-1], strict=True)
    ]
    return turns, "\n\n".join([*filter(None, system), texts[-1]])


@lru_cache(maxsize=16)
def open_environment(made: bytes) -> Any:
    """Return the environment of a JSON object of name and settings.

    Returns:
        ``TasksetRows`` with ``verifiers`` 0.4 or later, an ``Environment`` before.

    Raises:
        ConfigError: It cannot be loaded, takes several turns, or asks a model for its rewards.
        MissingExtraError: ``verifiers`` is not installed.
    """
    given = orjson.loads(made)
    name, settings = given["environment"], given["settings"]
    release = tuple(int(part) for part in re.findall(r"\d+", _package_version())[:2])
    logging.getLogger("verifiers").setLevel(logging.ERROR)
    is_old = release < TASKSETS_SINCE
    try:
        return _open_old(name, settings) if is_old else open_taskset(name, settings)
    except OrcinusError:
        raise
    except (Exception, SystemExit) as error:  # an environment is anybody's code
        said = one_line(str(error), 300) or type(error).__name__
        if isinstance(error, ValidationError):
            first = error.errors(include_url=False)[0]
            said = f"{'.'.join(['settings', *map(str, first['loc'])])}: {first['msg']}"
        raise ConfigError(f"the environment {name!r} cannot be loaded: {said}") from error


def _open_old(name: str, settings: Mapping[str, Any]) -> Any:
    """Return an environment of ``verifiers`` before 0.4."""
    import verifiers

    environment = verifiers.load_environment(name, **settings)
    if not isinstance(environment, verifiers.SingleTurnEnv):
        raise ConfigError(
            f"the environment {name!r} is a {type(environment).__name__}: it answers back or calls "
            "tools; only environments of one question and one answer (SingleTurnEnv) are read"
        )
    if any(isinstance(rubric, verifiers.JudgeRubric) for rubric in parts_of(environment.rubric)):
        raise ConfigError(asks_a_model(name))
    return environment


def parts_of(rubric: Any) -> Iterator[Any]:
    """Yield a rubric and all that it consists of."""
    yield rubric
    for part in getattr(rubric, "rubrics", ()):
        yield from parts_of(part)


@lru_cache(maxsize=16)
def rows_of(made: bytes) -> Any:
    """Return the rows of an environment: those to train on, or else those to evaluate on.

    Raises:
        ConfigError: It has no rows.
        StepError: It raised.
    """
    environment = open_environment(made)
    if isinstance(environment, TasksetRows):
        return environment
    name = orjson.loads(made)["environment"]
    with guard("environment", name, type(environment), lambda: ", while its rows are read"):
        for read in (environment.get_dataset, environment.get_eval_dataset):
            with suppress(ValueError):  # it has no such rows
                return read()
    raise ConfigError(f"the environment {name!r} has no rows")
