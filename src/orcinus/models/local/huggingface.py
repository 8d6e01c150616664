"""A Hugging Face causal language model in this process, decoding hundreds of requests at once.

    complete(request) ──► queue ──► one decoding thread ──► Completion

One thread takes the waiting requests, longest first. How it decodes them (``decoding.py``) is
chosen when the weights are read: the fastest way that gives what the model's own ``generate`` does.
"""

import asyncio
import hashlib
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import orjson

from orcinus.core.background import in_background
from orcinus.core.errors import CompleterError, ConfigError
from orcinus.core.imports import without_collector
from orcinus.core.requests import as_sent
from orcinus.core.types import Completion, Request, Scoring, Traits, WorstCase
from orcinus.models.bounds import free_call
from orcinus.models.local.config import CONTEXT_FIELDS, LocalConfig, local_identity
from orcinus.models.local.rows import Row, ScoredText, Way, length_of

if TYPE_CHECKING:
    from orcinus.models.local.chat_format import Chat
    from orcinus.models.local.decoding import Decoder

MOST_LOGITS = 2**28
"""Numbers, 1 GB in float32: the logits of one text that is scored."""
GATHER_S = 0.005
"""Seconds that the decoder waits for more requests before it starts."""


class LocalModel:
    """The Completer of a ``LocalConfig``."""

    def __init__(
        self,
        config: LocalConfig,
        *,
        device: str = "auto",
        note: Callable[[str], None] | None = None,
    ) -> None:
        """Find the model; its weights are read at the first request.

        Args:
            config: The model, its paths resolved.
            device: ``cpu``, ``cuda``, ``cuda:1`` … or ``auto``.
            note: Gets one line if the model must be decoded in a slower way, or if a question is
                longer than the model can read.

        Raises:
            ConfigError: The path is not a model.
        """
        self._config, self._note = config, note
        self._device = device
        if device not in ("auto", "cpu"):
            usable_device(device)
        self._identity = local_identity(config, Path())
        self._context = _declared_context(config)
        self._strict = False
        # Not SimpleQueue: its timed get can block for ever if the time runs out between two checks.
        # CPython 3.11.7 hangs in a loop of `get(timeout=1e-7)` within seconds, and this decoder did
        # on a busy machine.
        self._queue: queue.Queue[Row | ScoredText | None] = queue.Queue()
        self._opening: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self._chat: Chat
        self._decoder: Decoder
        self._way: Way = "alone"
        self._limit: tuple[int | None, bool] = (None, False)
        self._said: set[str] = set()
        self._closing = False

    @property
    def model(self) -> str:
        """Hash of the weights, or hub id and revision."""
        return self._identity

    @property
    def traits(self) -> Traits:
        """It continues partial replies and scores texts, within the context its folder names."""
        return Traits(continues=True, scores=True, context=self._context)

    def stay_within_context(self) -> None:
        """Refuse longer questions and end answers there, also where the model could go on."""
        self._strict = True

    async def complete(self, request: Request) -> Completion:
        """Answer, in one batch with the other waiting requests."""
        if self._thread is None:
            await self._start()
        if request.scoring is not None:
            text = ScoredText(self._checked_scoring(request.scoring), Future())
            self._queue.put(text)
            return await asyncio.wrap_future(text.future)
        try:
            prompt, partial = self._chat.partial_prompt(request.messages, request.partial or "")
        except ConfigError as error:
            raise CompleterError("bad_request", str(error), permanent=True) from error
        row = Row(
            prompt=prompt,
            partial=partial,
            verbatim=request.partial is not None,
            sampling=replace(
                request.sampling,
                max_tokens=self._tokens_left(len(prompt), request.sampling.max_tokens),
            ),
            future=Future(),
            random=Random(_seed(request)),
        )
        self._queue.put(row)
        return await asyncio.wrap_future(row.future)

    async def _start(self) -> None:
        """Read the weights once for all requests that wait for them, and start the decoder."""
        if self._opening is None:
            self._opening = asyncio.create_task(in_background(self._open))
        opening = self._opening
        try:
            await asyncio.shield(opening)
        except Exception:
            if self._opening is opening:
                self._opening = None  # the next request tries again
            raise
        if self._thread is None:
            self._thread = threading.Thread(target=self._decode_loop, name="decoder", daemon=True)
            self._thread.start()

    def _open(self) -> None:
        """Read the weights, and choose how to decode."""
        # Here, because torch takes seconds to import and a plan needs only the model's identity.
        with without_collector():
            from orcinus.models.local.arithmetic import imitated
            from orcinus.models.local.decoding import Decoder
            from orcinus.models.local.loading import load, position_limit
            from orcinus.models.local.self_check import choose_way

        device = usable_device(self._device)
        self._chat, model, stops = load(self._config, device)
        self._decoder = Decoder(self._chat, model, stops, self._config.batch_tokens)
        self._way, cost = choose_way(self._decoder, self._chat, model, self._config.path)
        self._limit = position_limit(model)
        about = list(self._chat.notes)
        if device == "cpu" and (slow := imitated(self._config.dtype)) is not None:
            about.append(f"dtype: {slow}")
        for text in (cost, *(f"{self._config.path}: {text}" for text in about)):
            self._say_once(text)

    def _say_once(self, text: str) -> None:
        if text and self._note is not None and text not in self._said:
            self._said.add(text)
            self._note(text)

    def _checked_scoring(self, asked: Scoring) -> Scoring:
        """Return what to score, as tokens that the model can read.

        Raises:
            CompleterError: The text is too long, too short, or holds tokens that it does not have.
        """
        if asked.plain is not None:
            tokens = self._chat.tokenizer(asked.plain)["input_ids"]
            asked = replace(asked, plain=None, prompt=tuple(tokens[:1]), response=tuple(tokens[1:]))
        tokens, (limit, is_hard) = [*asked.prompt, *asked.response], self._limit
        size = self._decoder.vocabulary
        if not asked.prompt or not asked.response:
            why = "a text to score has two tokens at least"
        elif bad := [token for token in tokens if not 0 <= token < size]:
            why = f"the prompt has the token {bad[0]}, and the model's are 0 to {size - 1:,}"
        elif limit is not None and len(tokens) > limit and (is_hard or self._strict):
            why = f"the text has {len(tokens):,} tokens, and the model reads at most {limit:,}"
        elif len(asked.response) * size > MOST_LOGITS:
            most = MOST_LOGITS // size
            why = f"the text has {len(tokens):,} tokens, and at most {most:,} are scored at once"
        else:
            return asked
        raise CompleterError("bad_request", why, permanent=True)

    def _score(self, text: ScoredText) -> None:
        with suppress(InvalidStateError):  # cancelled: nobody waits for it any more
            try:
                text.future.set_result(self._decoder.score(text.scoring))
            except Exception as error:  # noqa: BLE001 (set on the future)
                text.future.set_exception(_as_completer_error(error))

    def _tokens_left(self, prompt: int, max_tokens: int) -> int:
        """Return how many tokens may be written behind a prompt of ``prompt`` tokens.

        Raises:
            CompleterError: The prompt alone is longer than the model can read.
        """
        limit, is_hard = self._limit
        if limit is None or prompt + max_tokens <= limit:
            return max_tokens
        if not (is_hard or self._strict):
            self._say_once(
                f"{self._config.path}: some answers go on beyond the {limit:,} tokens that the "
                "model was made for; they can be worse"
            )
            return max_tokens
        if prompt >= limit:
            raise CompleterError(
                "bad_request",
                f"the question has {prompt:,} tokens, and the model reads at most {limit:,}",
                permanent=True,
            )
        return min(max_tokens, limit - prompt)

    def worst_case(self, request: Request) -> WorstCase:
        """Return the bounds of a call that costs no money."""
        return free_call(request)

    async def aclose(self) -> None:
        """Stop the decoder and free the model."""
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
            del self._decoder
            self._closing = False
        self._opening = None

    def _decode_loop(self) -> None:
        waiting: list[Row] = []
        while not self._closing:
            self._gather(waiting, wait=True)
            batch: list[Row] = []
            try:
                self._decoder.decode(
                    self._way, waiting, batch, lambda: self._gather(waiting, wait=False)
                )
            except Exception as error:  # noqa: BLE001 (set on the futures)
                for row in batch:
                    if not row.future.done():
                        row.future.set_exception(_as_completer_error(error))

    def _gather(self, waiting: list[Row], *, wait: bool) -> None:
        """Move queued requests to ``waiting``, which stays sorted by length; score texts at once.

        Args:
            waiting: Gets the new requests.
            wait: Wait for the first one if there is none, then ``GATHER_S`` for more.
        """
        deadline = (None if not waiting else time.monotonic() + GATHER_S) if wait else 0.0
        size = len(waiting)
        while True:
            try:
                row = self._queue.get(
                    timeout=None if deadline is None else max(0.0, deadline - time.monotonic())
                )
            except queue.Empty:
                break
            if row is None:
                self._closing = True
                break
            if isinstance(row, ScoredText):  # one forward pass, between two steps of decoding
                self._score(row)
                continue
            waiting.append(row)
            if deadline is None:
                deadline = time.monotonic() + GATHER_S
        if len(waiting) > size:
            waiting.sort(key=length_of)


def usable_device(device: str) -> str:
    """Return the name of a device of this machine; ``auto`` is a GPU if there is one.

    Raises:
        ConfigError: There is no such device.
    """
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(
            f"--device {device}: no such device; use cpu, cuda, cuda:1 … or auto"
        ) from error
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count() or "no"
        raise ConfigError(f"--device {device}: PyTorch sees {count} CUDA devices here")
    return device


def _declared_context(config: LocalConfig) -> int | None:
    """Return the positions that a model's folder names, read without loading the model."""
    path = Path(config.path) / "config.json"
    try:
        named = orjson.loads(path.read_bytes())
        return next((int(named[name]) for name in CONTEXT_FIELDS if name in named), None)
    except (OSError, ValueError, TypeError):  # a hub id, or a folder that cannot be loaded either
        return None


def _seed(request: Request) -> int:
    """Return a seed that depends on the request alone, not on the rest of the batch."""
    messages, sampling = as_sent(request)
    text = repr((sampling.seed, [(message.role, message.content) for message in messages]))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def _as_completer_error(error: Exception) -> Exception:
    import torch

    if isinstance(error, torch.OutOfMemoryError):
        return CompleterError(
            "server", f"out of memory; lower the student's batch_tokens: {error}", fatal=True
        )
    return error
