"""Tasks of reasoning-gym: over a hundred generators, each with its own scoring rule.

    {gym: countdown, count: 300, settings: {min_numbers: 3}}   →   "Find a way to make 42 from 7, …"

Example i depends on the generator, its settings, the seed and i alone. To score an answer, the same
question is drawn again, because the scoring rule needs what the generator knows of it (see
``gym_verifier.py``).
"""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import orjson
from pydantic import Field

from orcinus.core.config import Config
from orcinus.core.errors import ConfigError, MissingExtraError
from orcinus.core.imports import import_later
from orcinus.core.types import AnswerType, Example

if TYPE_CHECKING:
    from orcinus.tasks.files import drafts, examples
else:
    drafts = import_later("orcinus.tasks.files.drafts")
    examples = import_later("orcinus.tasks.files.examples")


VERIFIER = "reasoning_gym"
_INFERRED_FROM = 64
"""Examples. The answer type is inferred from the first ones."""


class GymConfig(Config):
    """A task of reasoning-gym (extra ``gym``); answers are judged by the generator's own rule."""

    gym: str
    """Name of the generator, e.g. ``countdown``."""
    name: str | None = None
    """Name of the task; None takes the generator's."""
    count: int = Field(default=300, ge=1)
    """How many examples are drawn; ``sample`` drops repeated questions."""
    seed: int = 0
    """Another seed draws other examples."""
    settings: Mapping[str, Any] = Field(default_factory=dict)
    """The generator's own settings, e.g. ``{min_terms: 3}``."""
    collection: str | None = None
    """The collection the task belongs to, for quotas."""

    def identity(self) -> dict[str, Any]:
        """Return what decides the examples.

        Raises:
            MissingExtraError: reasoning-gym is not installed.
        """
        try:
            return {**self.model_dump(mode="json"), "version": version("reasoning-gym")}
        except PackageNotFoundError as error:
            raise MissingExtraError("a task of reasoning-gym", "gym") from error


def draw_gym(config: GymConfig) -> Iterator[Example]:
    """Yield the examples of ``config`` in a stable order.

    Raises:
        ConfigError: There is no such generator, or it refuses the settings.
        MissingExtraError: reasoning-gym is not installed.
    """
    made = {
        "name": config.gym,
        "seed": config.seed,
        "size": config.count,
        "settings": dict(config.settings),
    }
    generator = open_gym(orjson.dumps(made))
    task = config.name or config.gym
    known = range(min(_INFERRED_FROM, config.count))
    rows = [
        drafts.RowDraft(prompt=entry["question"], reference=entry["answer"])
        for entry in map(generator.__getitem__, known)
    ]
    found = examples.infer_answer_type(rows)
    answer_type: AnswerType = found if found in ("number", "bool") else "exact"
    extra = {} if config.collection is None else {"collection": config.collection}
    for place in range(config.count):
        entry = generator[place]
        yield Example(
            id=f"{config.gym}-{config.seed}-{place}",
            task=task,
            prompt=str(entry["question"]).strip(),
            answer_type=answer_type,
            reference=None if entry["answer"] is None else str(entry["answer"]),
            meta={"verifier": VERIFIER, "gym": made, "place": place, **extra},
        )


@lru_cache(maxsize=64)
def open_gym(made: bytes) -> Any:
    """Return the reasoning-gym data set for a JSON object of name, seed, size and settings.

    Raises:
        ConfigError: There is no such generator, or it refuses the settings.
        MissingExtraError: reasoning-gym is not installed.
    """
    if find_spec("reasoning_gym") is None:
        raise MissingExtraError("a task of reasoning-gym", "gym")
    import reasoning_gym
    from reasoning_gym.factory import DATASETS

    given = orjson.loads(made)
    if given["name"] not in DATASETS:
        near = get_close_matches(given["name"], DATASETS, n=1)
        hint = (
            f"did you mean {near[0]!r}?"
            if near
            else f"there are {len(DATASETS)}, e.g. countdown and chain_sum"
        )
        raise ConfigError(f"reasoning-gym has no generator named {given['name']!r}; {hint}")
    try:
        return reasoning_gym.create_dataset(
            given["name"], seed=given["seed"], size=given["size"], **given["settings"]
        )
    except (TypeError, ValueError, AssertionError) as error:
        raise ConfigError(
            f"reasoning-gym's {given['name']}: its settings are refused: {error}"
        ) from error
