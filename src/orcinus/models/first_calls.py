"""Make one call of a step to a remote model before all others, and stop where its server refuses.

    1 call ──answered──► all;   ──refused for what it asks──► 8 calls, all the same error ──► stop
           ──no answer in all tries──► stop

A wrong key, parameter or URL fails every call alike. One call shows it, at no cost.
"""

import asyncio
import math
import re
import time
from collections.abc import Callable
from weakref import WeakKeyDictionary

from orcinus.core.errors import CompleterError
from orcinus.core.protocols import Completer
from orcinus.core.types import Attempt, Remote

SAME_ERRORS = 8
"""Answers. If the first ones are all the same error, the step stops."""
PER_REQUEST = ("bad_request", "content_filter", "bad_reply", "forbidden")
"""Classes of errors that one request can have alone: the first call may be such a one."""
FIRST_REPORT_S = 2.0
"""Seconds until the first line about refusals. Pauses of a second are no news."""
LONGEST_REPORT_S = 60.0
"""Seconds between two such lines, at most. The time doubles from line to line."""
ANSWERS_FOR_S = 60.0
"""Seconds after an answer to one step in which another step makes no first call. Steps that follow
each other save the time of a reply. After a long pause the server may be gone."""
OLD_S = 86_400.0
"""Seconds. Answers of an earlier day may come from another model under the same name."""


class FirstCalls:
    """A step's knowledge about one model so far."""

    def __init__(self, remote: Remote | None, step: str, *, gated: bool) -> None:
        """Start without any answer.

        Args:
            remote: The model's server; None for a model in this process, which needs no care.
            step: Name of the step, for messages.
            gated: Hold calls back until the first one is answered.
        """
        self._remote, self._step, self._gated = remote, step, gated
        self.answered = False
        """True once a call was answered, in this run or an earlier one."""
        self._proven = remote is None
        self.answered_at = -math.inf
        """Time of the latest answer in this process, by the monotonic clock."""
        self._open = 0
        """Calls that are inside their block now."""
        self._errors: list[str] = []
        self._forbidden = 0
        """Calls that the server forbade since the last answer."""
        self._changed = asyncio.Event()
        self._noted = False
        self._failed = self._kept = 0
        self._reason: str | None = None
        self.stop: CompleterError | None = None
        """The error that stops the step."""

    def enter_now(self) -> bool:
        """Count a call that may be made now; return False where it waits for another one.

        Raises:
            CompleterError: An earlier call stopped the step.
        """
        if self.stop is not None:
            raise self.stop
        if self._gated and not self._proven and len(self._errors) < SAME_ERRORS:
            allowed = SAME_ERRORS if self._errors else 1
            if self._open + len(self._errors) >= allowed:
                return False
        self._open += 1
        return True

    async def enter(self) -> None:
        """Wait until a call may be made, and count it."""
        while not self.enter_now():
            self._changed.clear()
            await self._changed.wait()

    def leave(self) -> None:
        """Let other calls go on after one has ended, also where it was cancelled."""
        # A call that was cancelled, or got no room in the budget, has recorded nothing.
        self._open -= 1
        self._changed.set()

    def record(self, error: CompleterError | None) -> CompleterError | None:
        """Record the end of a call; return the error that stops the step, if it should stop."""
        if error is None:
            self.answered = self._proven = True
            self.answered_at = time.monotonic()
            self._forbidden = 0
            return None
        if error.kind == "forbidden":
            # A key that served other calls has its rights: this request alone is not allowed.
            self._forbidden += 1
            error.fatal = not (self.answered and self._forbidden < SAME_ERRORS)
        if not self._proven:
            # A reply that cannot be read is quoted, and no two are the same.
            unread = error.kind == "bad_reply"
            self._errors.append(error.kind if unread else re.sub(r"\S*\d\S*", "#", str(error)))
            error = self._explain_stop(error) or error
            self.stop = error if error.fatal else self.stop
        return error if error.fatal else None

    def _explain_stop(self, error: CompleterError) -> CompleterError | None:
        """Return the error that stops the step although others may succeed by themselves."""
        first, same = len(self._errors) == 1, len(set(self._errors)) == 1
        if error.fatal:
            return None
        if first and self._gated and error.kind not in PER_REQUEST:
            why = f"the first call of {self._step} got no answer, so no other was made"
        elif same and len(self._errors) == SAME_ERRORS:
            why = f"the first {SAME_ERRORS} calls of {self._step} all end so, so no other is made"
        else:
            return None
        what = str(error).removeprefix(f"{error.kind}: ")
        return CompleterError(error.kind, f"{what}; {why}", permanent=True, fatal=True)

    def ended(self, attempt: Attempt) -> None:
        """Count an attempt that is an error, from a call or from the ledger."""
        if attempt.error is not None:
            self._failed += 1
            self._kept += attempt.permanent
            self._reason = self._reason or attempt.error

    def note_failures(self, note: Callable[[str], None]) -> None:
        """Note how many calls failed since the last such line, why, and what helps."""
        if self._remote is None or not self._failed:
            return
        what = "call has" if self._failed == 1 else "calls have"
        helps = "run again to retry"
        if self._kept:
            helps += f", after `orcinus ledger forget --errors` for {self._kept:,} of them"
        note(f"{self._step}: {self._failed:,} {what} no answer: {self._reason}; {helps}")
        self._failed, self._kept, self._reason = 0, 0, None

    def recalled(self, attempt: Attempt, note: Callable[[str], None]) -> None:
        """Record an answer from the ledger, and note where it is from if that may surprise."""
        self.answered = self.answered or attempt.error is None
        if self._remote is None or self._noted or attempt.error is not None:
            return
        elsewhere = bool(attempt.source) and attempt.source not in self._remote.addresses
        if elsewhere or 0 < attempt.created < time.time() - OLD_S:
            self._noted = True
            day = time.strftime("%Y-%m-%d", time.localtime(attempt.created))
            place = f" at {attempt.source}" if attempt.source else ""
            note(
                f"{self._step}: answers from the ledger are used, such as one that "
                f"{attempt.model} gave{place} on {day}; `orcinus evaluate --fresh`, or a new "
                "revision: of the model in the recipe, asks anew"
            )


_STEPS: WeakKeyDictionary[Completer, dict[tuple[str, str], FirstCalls]] = WeakKeyDictionary()
"""By open model, then by run and step: a step may ask its model in several rounds."""


def first_calls(completer: Completer, run: str, step: str) -> FirstCalls:
    """Return what a step knows about its model."""
    traits = completer.traits
    known = _STEPS.setdefault(completer, {}) if traits.remote is not None else {}
    # A server that has just answered another step takes this key, model and URL.
    others = [calls.answered_at for calls in known.values() if calls.stop is None]
    latest = max(others, default=-math.inf)
    gated = traits.in_flight is None and time.monotonic() - latest > ANSWERS_FOR_S
    made = FirstCalls(traits.remote, step, gated=gated)
    if traits.remote is None:
        return made
    if (run, step) not in known or known[run, step].stop is not None:
        known[run, step] = made
    return known[run, step]


async def report_refusals(remote: Remote, step: str, note: Callable[[str], None]) -> None:
    """Note from time to time what the server refuses, and when it is asked again; endless."""
    pause_s = FIRST_REPORT_S
    while True:
        await asyncio.sleep(pause_s)
        refusals = remote.refusals()
        if refusals is None:
            pause_s = FIRST_REPORT_S
            continue
        note(f"{step}: {refusals}")
        pause_s = min(2 * pause_s, LONGEST_REPORT_S)
