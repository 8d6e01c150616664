"""What a recipe would do and cost, before anything is spent.

Only ``sample`` is run for a plan, because all the rest depends on what it counts and it costs nothing; its result is the one
that the run will use. Calls that the ledger already knows are counted exactly wherever the strategy is known.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from orcinus.asking import requests_for
from orcinus.completers.endpoint import EndpointConfig, Price
from orcinus.method import Models, run_recipe, steps_of
from orcinus.pipeline import Step
from orcinus.recipe import ModelConfig, Recipe
from orcinus.runtime import Progress, Runtime
from orcinus.steps.evaluate import chosen as evaluated_examples
from orcinus.steps.probe import chosen as probed_examples
from orcinus.store import tables
from orcinus.store.assigned import Assigned
from orcinus.store.ledger import Ledger, attempt_id
from orcinus.types import Request

CHARACTERS_PER_TOKEN = 4
"""For prompts of a model that has answered nothing yet."""
LOW_SHARE = 0.1
"""Of the bound on written tokens: the low end of the range for such a model."""
SPREAD = 2.0
"""Standard errors of the measured mean to either side."""
BATCH = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedStep:
    """One line of the plan; None where a step asks no model."""

    step: str
    state: str
    """``done``, ``to do``, or ``to do again`` when the recipe has changed since."""
    calls: int | None = None
    """Calls that will be made."""
    known_calls: int | None = None
    """Calls that the ledger answers."""
    tokens_in: int | None = None
    tokens_out_low: int | None = None
    tokens_out_high: int | None = None
    usd_low: float | None = None
    usd_high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The steps, and what a reader should know about the figures."""

    rows: tuple[PlannedStep, ...]
    notes: tuple[str, ...]
