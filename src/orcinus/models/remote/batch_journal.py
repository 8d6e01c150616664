"""The journal of batches: a folder for each one, written before anything is sent.

    requests.jsonl   the requests, under the ids of their attempts
    state.json       the ids of the file and the batch at the provider, and the progress
    output.jsonl, errors.jsonl   the replies

A process locks the batches that it works on. The kernel releases the locks of one that ends.
"""

import errno
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from orcinus.core.errors import CompleterError, StoreError
from orcinus.core.files import write_atomically
from orcinus.core.types import Completion
from orcinus.models.remote.endpoint_config import EndpointConfig
from orcinus.models.remote.refusals import refusal
from orcinus.models.remote.replies import parse_replies, read_json
from orcinus.models.remote.wire import may_be_charged

REQUESTS = "requests.jsonl"
"""The file of a batch's requests, in its folder. It is locked while a process works on it."""
STATE = "state.json"
"""The file of its progress."""
Progress = Literal["prepared", "sent", "ended", "refused"]


@dataclass(slots=True, kw_only=True)
class BatchState:
    """The progress of one batch; ``state.json``."""

    key: str
    model: str
    config: dict[str, Any]
    """The endpoint's settings, so that the batch can be polled without the recipe. They name
    environment variables and hold no secrets."""
    requests: int
    created: float
    progress: Progress = "prepared"
    file_id: str | None = None
    batch_id: str | None = None
    status: str = ""
    """The status as the provider reports it."""
    answered: int = 0
    why: str = ""
    """The provider's reason for refusing it or ending it early."""
    run: str = ""
    """The run in whose budget its worst case is reserved; empty without a budget."""


class Batch:
    """One batch and its folder in the journal."""

    def __init__(self, folder: Path, state: BatchState) -> None:
        self.folder, self.state = folder, state
        self.may_exist = False
        """True while the provider may have created it, and its reply was lost."""
        self._lock: int | None = None

    def lock(self) -> bool:
        """Take the batch for this process; return False while another one works on it.

        The kernel releases the lock of a process that ends. A file system without locks lets
        everyone pass.
        """
        descriptor = os.open(self.folder / REQUESTS, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                os.close(descriptor)
                return False
        self._lock = descriptor
        return True

    def unlock(self) -> None:
        """Let other processes resume the batch."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @classmethod
    def prepare(
        cls,
        journal: Path,
        config: EndpointConfig,
        bodies: Mapping[str, Mapping[str, Any]],
        run: str = "",
    ) -> "Batch":
        """Write a new batch to the journal, durably, before anything is sent.

        Args:
            journal: Folder of all batches.
            config: The endpoint.
            bodies: Attempt id → body of the request.
            run: The run in whose budget their worst case is reserved.
        """
        state = BatchState(
            key=uuid.uuid4().hex,
            model=config.known_as(),
            config=config.model_dump(mode="json"),
            requests=len(bodies),
            created=time.time(),
            run=run,
        )
        batch = cls(journal / state.key, state)
        batch.folder.mkdir(parents=True)
        lines = (
            orjson.dumps(
                {
                    "custom_id": identity,
                    "method": "POST",
                    "url": "/v1/chat/completions",
                    "body": body,
                }
            )
            for identity, body in bodies.items()
        )
        write_atomically(batch.folder / REQUESTS, b"\n".join(lines) + b"\n")
        batch.lock()  # before other processes see the state
        batch.save()
        return batch

    def save(self, **changes: Any) -> None:
        """Write the state with ``changes`` durably."""
        for name, value in changes.items():
            setattr(self.state, name, value)
        write_atomically(
            self.folder / STATE, orjson.dumps(asdict(self.state), option=orjson.OPT_INDENT_2)
        )

    @property
    def may_be_charged(self) -> bool:
        """True once the provider may have begun to work on it."""
        return self.may_exist or self.state.progress in ("sent", "ended")

    def ids(self) -> list[str]:
        """Return the ids of the requests, in order."""
        return [row["custom_id"] for row in _read_rows(self.folder / REQUESTS)]

    def answers(self) -> Iterator[tuple[str, Completion | CompleterError]]:
        """Yield (id, answer or error) for each request that the provider replied to."""
        asked = {row["custom_id"]: row["body"] for row in _read_rows(self.folder / REQUESTS)}
        for name in ("output.jsonl", "errors.jsonl"):
            for row in _read_rows(self.folder / name):
                identity = row.get("custom_id")
                if isinstance(identity, str):
                    yield identity, self._read_line(row, asked.get(identity))

    def _read_line(
        self, row: Mapping[str, Any], body: Mapping[str, Any] | None
    ) -> Completion | CompleterError:
        """Return the outcome in a line, which is read knowing the body that was sent."""
        if body is None:
            return _parse_outcome(row, None, None)
        prompt = "\n".join(message["content"] for message in body["messages"])
        return _parse_outcome(row, body.get(self.state.config["max_tokens_field"]), prompt)


def read_journal(journal: Path) -> list[Batch]:
    """Return all batches of a journal, the oldest first.

    Raises:
        StoreError: A folder's state cannot be read.
    """
    batches = [
        Batch(path.parent, state)
        for path in sorted(journal.glob(f"*/{STATE}"))
        if (state := _read_state(path)) is not None
    ]
    return sorted(batches, key=lambda batch: batch.state.created)


def _read_state(path: Path) -> BatchState | None:
    """Return the state of a batch; None if another process has just dropped it."""
    try:
        return BatchState(**orjson.loads(path.read_bytes()))
    except FileNotFoundError:
        return None
    except (OSError, orjson.JSONDecodeError, TypeError) as error:
        raise StoreError(
            f"{path}: cannot be read as the state of a batch: {error}; move the folder away"
        ) from error


def take(batch: Batch) -> bool:
    """Lock a batch of the journal and read its state again; False if it is not to be resumed."""
    try:
        if not batch.lock():
            return False
    except FileNotFoundError:  # dropped since the journal was read
        return False
    state = _read_state(batch.folder / STATE)
    if state is None:
        batch.unlock()
        return False
    batch.state = state
    return True


def clear(journal: Path, known: Callable[[list[str]], int]) -> int:
    """Delete the batches whose answers are all in the ledger, and return their number.

    Args:
        journal: The folder of batches.
        known: Counts how many of the given ids the ledger has.
    """
    cleared = 0
    for batch in read_journal(journal):
        answered = [
            identity for identity, outcome in batch.answers() if isinstance(outcome, Completion)
        ]
        parts = [answered[at : at + 500] for at in range(0, len(answered), 500)]
        if batch.state.progress in ("ended", "refused") and all(
            known(part) == len(part) for part in parts
        ):
            shutil.rmtree(batch.folder)
            cleared += 1
    return cleared


def _parse_outcome(
    row: Mapping[str, Any], max_tokens: int | None, prompt: str | None
) -> Completion | CompleterError:
    """Return the answer in a line of the output or error file, or the reason why it has none."""
    response, error = row.get("response"), row.get("error")
    if isinstance(response, dict):
        status, body = response.get("status_code"), orjson.dumps(response.get("body"))
        if status != 200:
            failed = refusal(status if isinstance(status, int) else 500, body)
            # One line's 404 says nothing about the other lines of a batch that was accepted.
            return CompleterError(
                failed.kind,
                str(failed).partition(": ")[2],
                permanent=failed.permanent,
                cost_unknown=may_be_charged(status if isinstance(status, int) else 500, failed),
            )
        try:
            return parse_replies(body, max_tokens=max_tokens, prompt=prompt)[0]
        except CompleterError as unreadable:
            unreadable.cost_unknown = True
            return unreadable
    said = error if isinstance(error, dict) else {}
    words = f"{said.get('code') or ''} {said.get('message') or 'no answer and no reason'}".strip()
    # Providers do not charge for lines that expired or were cancelled.
    unanswered = said.get("code") in ("batch_expired", "batch_cancelled")
    return CompleterError("server", f"in the batch: {words}"[:300], cost_unknown=not unanswered)


def _read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects in a file's lines; a request whose line is broken is unanswered."""
    if not path.exists():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                row = read_json(line)
            except CompleterError:
                continue
            if isinstance(row, dict):
                yield row
