"""Count calls, tokens, dollars, answers from the ledger and retries with OpenTelemetry.

    pip install -e '.[otel]'
    opentelemetry-instrument --metrics_exporter otlp orcinus run recipe.yaml

This only counts. Whoever starts the process decides where the counters go, with OpenTelemetry's own
variables and commands; without them they go nowhere. Without the package there is nothing to call.
"""

from functools import lru_cache
from typing import Any

from orcinus.core.types import Attempt

COUNTERS = {
    "orcinus.calls": ("{call}", "Calls to models that ended, with an answer or an error."),
    "orcinus.tokens": ("{token}", "Tokens read (input) and written (output), as models report."),
    "orcinus.cost": ("USD", "Dollars, by the models' prices."),
    "orcinus.recalled": ("{call}", "Answers that came from the ledger in place of a call."),
    "orcinus.retries": ("{call}", "Tries of calls that failed and were followed by another."),
}
"""The counters: unit and description of each. All have the attributes run, step and model."""


class Counters:
    """The counters of one model in one step."""

    def __init__(self, instruments: dict[str, Any], run: str, step: str, model: str) -> None:
        self._add = {name: instrument.add for name, instrument in instruments.items()}
        self._which = {"run": run, "step": step, "model": model}

    def count_recalled(self) -> None:
        """Count an answer from the ledger."""
        self._add["orcinus.recalled"](1, self._which)

    def count_call(self, attempt: Attempt, retries: int) -> None:
        """Count a call that ended after so many retries."""
        which, usage = self._which, attempt.usage
        outcome = "answer" if attempt.error is None else attempt.error.partition(":")[0]
        self._add["orcinus.calls"](1, {**which, "outcome": outcome})
        self._add["orcinus.tokens"](usage.tokens_in, {**which, "type": "input"})
        self._add["orcinus.tokens"](usage.tokens_out, {**which, "type": "output"})
        self._add["orcinus.cost"](attempt.cost_usd, which)
        if retries:
            self._add["orcinus.retries"](retries, which)


def open_counters(run: str, step: str, model: str) -> Counters | None:
    """Return the counters of a model in a step; None where OpenTelemetry is not installed."""
    instruments = _instruments()
    return None if instruments is None else Counters(instruments, run, step, model)


@lru_cache(maxsize=1)
def _instruments() -> dict[str, Any] | None:
    try:
        from opentelemetry import metrics
    except ImportError:
        return None
    meter = metrics.get_meter("orcinus")
    return {
        name: meter.create_counter(name, unit=unit, description=about)
        for name, (unit, about) in COUNTERS.items()
    }
