"""The provider's batch interface as a model: slower, cheaper, and as durable as single calls.

    requests ─► collected ─► journal ─► uploaded ─► created ─► polled ─► downloaded ─► answers

Each batch has a folder in the journal, written before anything is sent:

    requests.jsonl   the requests, under the ids of their attempts
    state.json       the ids of the file and the batch at the provider, and the progress
    output.jsonl, errors.jsonl   the replies

A process that starts again resumes the batches in its journal. It polls those under way and reads
those that came back from the disk. A batch that was about to be sent is looked up at the provider
by its key, which it would carry as metadata, and is dropped if it is not there. So an interrupted
upload never becomes two batches, and requests find the answers to what earlier processes sent.
"""

import asyncio
import errno
import fcntl
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import orjson
from pyreqwest.multipart import FormBuilder, PartBuilder

from orcinus.core.errors import CompleterError, StoreError
from orcinus.core.files import write_atomically
from orcinus.core.types import Completion, Request, Traits, WorstCase
from orcinus.models.bounds import book_lost_try, current_tries
from orcinus.models.remote.endpoint import BatchConfig, Endpoint, EndpointConfig
from orcinus.models.remote.refusals import refusal, without_password
from orcinus.models.remote.replies import parse_replies, read_json
from orcinus.models.remote.wire import may_be_charged
from orcinus.runs.ledger_records import attempt_id

MAX_FILE_BYTES = 150 * 2**20
"""Bytes of a batch's requests, at most. Providers take files of 200 MB."""
MAX_OUTPUT_BYTES = 4 * 2**30
"""Bytes of a batch's replies, at most."""
MAX_QUEUE_PAUSE_S = 600.0
"""Longest pause, in seconds, before a retry of a batch that the provider had no room for."""
REQUESTS = "requests.jsonl"
"""The file of a batch's requests, in its folder. It is locked while a process works on it."""
STATE = "state.json"
"""The file of its progress."""
Progress = Literal["prepared", "sent", "ended", "refused"]
_ENDED = {"completed", "failed", "expired", "cancelled"}


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


class BatchEndpoint:
    """The Completer of an ``EndpointConfig`` with ``batch``."""

    def __init__(
        self,
        config: EndpointConfig,
        *,
        secrets: Mapping[str, str],
        journal: Path,
        entry: str = "teacher",
    ) -> None:
        """Read keys and limits; the journal is not read and nothing is connected yet.

        Args:
            config: The model and its URLs, of which the first is used.
            secrets: The environment, in which the configuration names keys.
            journal: Folder of the batches; all runs with one ledger share it.
            entry: The recipe's entry of the model, which errors name.

        Raises:
            ConfigError: A named variable is not set.
        """
        self.config = config
        self._batch_config = config.batch or BatchConfig()
        self._endpoint = Endpoint(config, secrets=secrets, entry=entry)
        self._provider = _Provider(self._endpoint)
        self._journal = journal
        self._waiting: dict[str, asyncio.Future[Completion]] = {}
        self._early: dict[str, Completion] = {}
        """Answers of earlier batches that no request has asked for yet, by id."""
        self._under_way: set[str] = set()
        """Ids in batches that earlier processes sent."""
        self._booked_by: dict[str, str] = {}
        """By id of an earlier process's request: the run that has booked its worst case."""
        self._to_resume: list[tuple[Batch, list[str]]] = []
        self._run_with_budget = ""
        self._collected: dict[str, dict[str, Any]] = {}
        self._new_request = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._has_read_journal = False

    @property
    def model(self) -> str:
        """Its name, revision and omitted fields."""
        return self.config.known_as()

    @property
    def traits(self) -> Traits:
        """Calls in flight for two batches: one is collected while another is under way."""
        remote = self._endpoint.traits.remote
        return Traits(in_flight=2 * self._batch_config.size, remote=remote)

    async def complete(self, request: Request) -> Completion:
        """Send the request in a batch, or take the answer if an earlier process sent it.

        Raises:
            CompleterError: No answer came, not even from later batches if a retry could help.
        """
        identity = attempt_id(request, self.model)
        self._read_journal()
        while self._to_resume:
            self._start(*self._to_resume.pop(), resumed=True)
        self._booked_by.pop(identity, None)  # from now on it is a call of this process
        for tried in range(1, self.config.patience.tries + 1):
            try:
                found = self._early.pop(identity, None) or await self._wait_for(identity, request)
            except CompleterError as error:
                if error.permanent or error.fatal or tried == self.config.patience.tries:
                    raise
                if error.cost_unknown and not await book_lost_try(current_tries()):
                    raise
            else:
                if found.usage.tokens_in:
                    return found
                factor = self._endpoint.price.batch
                return self._endpoint.priced_at_worst(found, 0.0, request, factor=factor)
        raise AssertionError("unreachable: the last try raises")

    def worst_case(self, request: Request) -> WorstCase:
        """Return the bounds of a single call at the batch's price.

        They name the run that has booked them, where an earlier process has sent the request.
        """
        self._read_journal()
        worst = self._endpoint.worst_case(request)
        return WorstCase(
            usd=worst.usd * self._endpoint.price.batch,
            tokens=worst.tokens,
            booked_by=self._booked_by.get(attempt_id(request, self.model), ""),
        )

    async def aclose(self) -> None:
        """Stop polling. The provider continues the batches; the next process resumes them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        for batch, _ in self._to_resume:
            batch.unlock()
        await self._endpoint.aclose()

    async def _wait_for(self, identity: str, request: Request) -> Completion:
        if identity not in self._waiting:
            self._waiting[identity] = asyncio.get_running_loop().create_future()
            if identity not in self._under_way:
                self._collected[identity] = self._endpoint.body(request)
                for tries in current_tries():
                    self._run_with_budget = tries.run
                self._new_request.set()
                if len(self._collected) == 1:
                    self._spawn(self._send_collected())
        return await asyncio.shield(self._waiting[identity])

    async def _send_collected(self) -> None:
        """Send the collected requests once they fill a batch, or once no more of them come."""
        while len(self._collected) < self._batch_config.size:
            self._new_request.clear()
            try:
                await asyncio.wait_for(self._new_request.wait(), self._batch_config.linger_s)
            except TimeoutError:
                break
        while self._collected:
            bodies, self._collected = _take_batch(self._collected, self._batch_config.size)
            try:
                batch = Batch.prepare(self._journal, self.config, bodies, self._run_with_budget)
            except OSError as error:  # a full disk: nothing was sent
                self._settle(
                    list(bodies), {}, StoreError(f"{self._journal}: cannot be written: {error}")
                )
            else:
                self._start(batch, list(bodies))

    def _read_journal(self) -> None:
        """Learn, once, what earlier processes have sent."""
        if self._has_read_journal:
            return
        self._has_read_journal = True
        for batch in read_journal(self._journal):
            if (
                batch.state.model != self.model
                or batch.state.config["base_urls"][0] != self.config.base_urls[0]
            ):
                continue
            if batch.state.progress not in ("ended", "refused") and not _take(batch):
                continue  # another process works on it, and has claimed its requests
            if batch.state.progress == "ended":
                answered = {
                    identity: self._priced(outcome)
                    for identity, outcome in batch.answers()
                    if isinstance(outcome, Completion)
                }
                self._early.update(answered)
                self._booked_by.update(dict.fromkeys(answered, batch.state.run))
                batch.unlock()
            elif batch.state.progress != "refused":
                ids = batch.ids()
                self._under_way.update(ids)
                self._booked_by.update(dict.fromkeys(ids, batch.state.run))
                self._to_resume.append((batch, ids))

    def _start(self, batch: Batch, ids: list[str], *, resumed: bool = False) -> None:
        task = self._spawn(self._run(batch, ids, resumed=resumed))
        task.add_done_callback(lambda _: batch.unlock())

    def _spawn(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _run(self, batch: Batch, ids: list[str], *, resumed: bool = False) -> None:
        """Send one batch, wait for it, and set the answers or errors on the waiting futures.

        Args:
            batch: The batch.
            ids: The ids of its requests.
            resumed: An earlier process wrote it to the journal. If it was not sent then, it is
                dropped: its answers may not be wanted any more.
        """
        try:
            if (
                resumed
                and batch.state.progress == "prepared"
                and not await self._provider.adopt(batch)
            ):
                shutil.rmtree(batch.folder)
                raise CompleterError("server", "the batch was never sent")
            pause_s = self._batch_config.poll_s
            while not await self._provider.collect(batch, self._batch_config):
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, MAX_QUEUE_PAUSE_S)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 (set on the futures)
            if isinstance(error, CompleterError):
                error.cost_unknown = batch.may_be_charged  # not of the exchange, of the batch
            if batch.may_be_charged and batch.folder.exists():
                # Its calls are booked as lost tries: who resumes it has nothing to take back.
                with suppress(StoreError):
                    batch.save(run="")
            self._settle(ids, {}, error)
        else:
            lost = CompleterError(
                "server",
                f"batch {batch.state.batch_id} {batch.state.status} without this answer",
                cost_unknown=True,
            )
            self._settle(ids, dict(batch.answers()), lost)

    def _settle(
        self,
        ids: list[str],
        outcomes: Mapping[str, Completion | CompleterError],
        otherwise: Exception,
    ) -> None:
        """Set each request's outcome on its future; keep answers that no request waits for."""
        for identity in ids:
            self._under_way.discard(identity)
            outcome = outcomes.get(identity, otherwise)
            future = self._waiting.pop(identity, None)
            if isinstance(outcome, Completion):
                outcome = self._priced(outcome)
                if future is None or future.done():
                    self._early[identity] = outcome
                else:
                    future.set_result(outcome)
            elif future is not None and not future.done():
                future.set_exception(outcome)

    def _priced(self, completion: Completion) -> Completion:
        priced = self._endpoint.priced(completion, 0.0, factor=self._endpoint.price.batch)
        return replace(priced, source=without_password(self.config.base_urls[0]))


class _Provider:
    """The four exchanges of a batch with the provider: upload, create, poll, download."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._base = endpoint.config.base_urls[0].rstrip("/")

    async def adopt(self, batch: Batch) -> bool:
        """Look a batch up that was about to be sent; return True and note its id if it was."""
        found = await self._find(batch.state.key)
        if found is not None:
            batch.save(progress="sent", batch_id=found["id"], status=str(found.get("status")))
        return found is not None

    async def collect(self, batch: Batch, config: BatchConfig) -> bool:
        """Send the batch unless it was sent, wait for its end, and download what there is.

        Returns:
            False when the provider has no room for it now.

        Raises:
            CompleterError: The provider refused the batch or cannot be reached.
        """
        if batch.state.progress == "prepared":
            if batch.state.file_id is None:
                batch.save(file_id=await self._upload(batch))
            made = await self._create(batch, config)
            batch.save(progress="sent", batch_id=made["id"], status=str(made.get("status")))
        while True:
            seen = await self._fetch("GET", f"/batches/{batch.state.batch_id}")
            status = str(seen.get("status"))
            answered = (seen.get("request_counts") or {}).get("completed") or 0
            if (status, answered) != (batch.state.status, batch.state.answered):
                batch.save(status=status, answered=answered)
            if status in _ENDED:
                break
            await asyncio.sleep(config.poll_s)
        why = _describe_failure(seen)
        if status == "failed" and not seen.get("output_file_id"):
            if "limit" in why:  # the provider's limit on queued tokens or requests
                batch.save(progress="prepared", why=why)
                return False
            batch.save(progress="refused", why=why)
            raise CompleterError(
                "bad_request",
                f"batch {batch.state.batch_id} failed: {why}",
                permanent=True,
                fatal=True,
            )
        for name, file_id in (
            ("output", seen.get("output_file_id")),
            ("errors", seen.get("error_file_id")),
        ):
            if file_id:
                content = await self._fetch_bytes("GET", f"/files/{file_id}/content")
                write_atomically(batch.folder / f"{name}.jsonl", content)
        batch.save(progress="ended", why=why)
        return True

    async def cancel(self, batch: Batch) -> None:
        """Ask the provider to stop the batch. Its answers so far are paid for and stay there."""
        seen = await self._fetch("POST", f"/batches/{batch.state.batch_id}/cancel", body=b"{}")
        batch.save(status=str(seen.get("status")))

    async def _find(self, key: str) -> dict[str, Any] | None:
        """Return the provider's batch with this key; None if it was never created."""
        after = ""
        while True:
            page = await self._fetch("GET", f"/batches?limit=100{after}")
            rows = [row for row in page.get("data") or [] if isinstance(row, dict)]
            for row in rows:
                if (row.get("metadata") or {}).get("orcinus") == key and row.get(
                    "status"
                ) != "failed":
                    return row
            if not page.get("has_more") or not rows:
                return None
            after = f"&after={rows[-1]['id']}"

    async def _upload(self, batch: Batch) -> str:
        content = (batch.folder / REQUESTS).read_bytes()

        def form() -> FormBuilder:
            part = PartBuilder.from_bytes(content).file_name(f"orcinus-{batch.state.key}.jsonl")
            return (
                FormBuilder().text("purpose", "batch").part("file", part.mime("application/jsonl"))
            )

        return str((await self._fetch("POST", "/files", form=form))["id"])

    async def _create(self, batch: Batch, config: BatchConfig) -> dict[str, Any]:
        """Create the batch. If the reply is lost, look the batch up before creating it again."""
        body = {
            "input_file_id": batch.state.file_id,
            "endpoint": "/v1/chat/completions",
            "completion_window": config.window,
            "metadata": {"orcinus": batch.state.key},
        }
        patience = self._endpoint.config.patience
        for tried in range(1, patience.tries + 1):
            try:
                made = await self._fetch_once("POST", "/batches", body=orjson.dumps(body))
                batch.may_exist = False
                return made
            except CompleterError as error:
                batch.may_exist = error.cost_unknown or error.kind == "bad_reply"
                if error.permanent or tried == patience.tries:
                    raise
                await asyncio.sleep(patience.pause_s(error, tried))
                found = await self._find(batch.state.key)
                batch.may_exist = False
                if found is not None:
                    return found
        raise AssertionError("unreachable: the last try raises")

    async def _fetch(self, method: str, path: str, **what: Any) -> dict[str, Any]:
        return _parse_object(await self._fetch_bytes(method, path, **what), path)

    async def _fetch_once(self, method: str, path: str, *, body: bytes) -> dict[str, Any]:
        content, _ = await self._endpoint.wire.exchange(method, self._base + path, body=body)
        return _parse_object(content, path)

    async def _fetch_bytes(
        self, method: str, path: str, *, body: bytes | None = None, form: Any = None
    ) -> bytes:
        patience = self._endpoint.config.patience
        for tried in range(1, patience.tries + 1):
            try:
                content, _ = await self._endpoint.wire.exchange(
                    method,
                    self._base + path,
                    body=body,
                    form=form() if form else None,
                    limit=MAX_OUTPUT_BYTES,
                )
                return content
            except CompleterError as error:
                if error.permanent or tried == patience.tries:
                    raise
                await asyncio.sleep(patience.pause_s(error, tried))
        raise AssertionError("unreachable: the last try raises")


def _take(batch: Batch) -> bool:
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


async def cancel(batch: Batch, *, secrets: Mapping[str, str]) -> None:
    """Ask the provider to stop ``batch``.

    Raises:
        CompleterError: The provider refused, or it cannot be reached.
        ConfigError: A key is not set.
    """
    endpoint = Endpoint(EndpointConfig(**batch.state.config), secrets=secrets)
    try:
        await _Provider(endpoint).cancel(batch)
    finally:
        await endpoint.aclose()


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


def _describe_failure(seen: Mapping[str, Any]) -> str:
    """Return the provider's errors about the batch as a whole, as one line."""
    rows = (seen.get("errors") or {}).get("data") or []
    said = [
        f"{row.get('code') or ''} {row.get('message') or ''}".strip()
        for row in rows
        if isinstance(row, dict)
    ]
    return "; ".join(said)[:300]


def _take_batch(
    collected: dict[str, dict[str, Any]], count: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split requests into the next batch, bounded in number and bytes, and the rest."""
    size, taken = 0, 0
    for body in collected.values():
        size += len(orjson.dumps(body)) + 200
        if taken == count or (taken and size > MAX_FILE_BYTES):
            break
        taken += 1
    rows = list(collected.items())
    return dict(rows[:taken]), dict(rows[taken:])


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


def _parse_object(content: bytes, path: str) -> dict[str, Any]:
    try:
        seen = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise CompleterError("bad_reply", f"{path}: not valid JSON ({error})") from error
    if not isinstance(seen, dict):
        raise CompleterError("bad_reply", f"{path}: not a JSON object")
    return cast("dict[str, Any]", seen)
