"""A Hugging Face causal language model in this process, decoding hundreds of requests at once.

    complete(request) ──► queue ──► one decoding thread, slots refilled as rows end ──► Completion

One thread takes the waiting requests, longest first. It reads prompts in batches and writes token
by token, in slots that are refilled as rows end (``slots.py``). Models whose attention is not full
in every layer are decoded batch by batch with Transformers' own cache; there a row that ends leaves
the batch. A greedy answer does not depend on the rest of the batch, and a sampled one depends only
on its seed.

Shapes: B rows, T positions, V vocabulary.
"""

import asyncio
import hashlib
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.cache_utils import DynamicCache

from orcinus.core.errors import CompleterError, ConfigError, MissingExtraError
from orcinus.core.requests import as_sent
from orcinus.core.types import Completion, Finish, Request, Sampling, Traits, Usage, WorstCase
from orcinus.models.bounds import free_call
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import LocalConfig, local_identity
from orcinus.models.local.slots import SlotCache, cache_keyword, fits
from orcinus.models.remote.thinking import split_thinking

REFILL = 8
"""Free slots are refilled once they are an eighth of all: reading prompts one at a time would cost
as much as it gains."""
GATHER_S = 0.005
"""Seconds that the decoder waits for more requests before it starts."""


@dataclass(slots=True)
class _Row:
    """One request while it is being answered."""

    prompt: list[int]
    partial: int
    """Number of tokens at the prompt's end that are the partial reply."""
    verbatim: bool
    """True for a part of a reply: it is returned with its stop text and outer blanks."""
    sampling: Sampling
    future: "Future[Completion]"
    random: Random
    started: float = field(default_factory=time.perf_counter)
    written: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    ended: bool = False
    """True if its last token ended the turn: it counts as written and is not in the text."""
    finish: Finish | None = None


class LocalModel:
    """The Completer of a ``LocalConfig``."""

    def __init__(self, config: LocalConfig, *, device: str = "auto") -> None:
        """Find the model; its weights are read at the first request.

        Raises:
            ConfigError: The path is not a model.
        """
        self._config = config
        self._device = (
            "cuda"
            if device == "auto" and torch.cuda.is_available()
            else device.replace("auto", "cpu")
        )
        self._identity = local_identity(config, Path())
        # Not SimpleQueue: its timed get can block for ever if the time runs out between two checks.
        # CPython 3.11.7 hangs in a loop of `get(timeout=1e-7)` within seconds, and this decoder did
        # on a busy machine.
        self._queue: queue.Queue[_Row | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._chat: Chat
        self._model: Any = None
        self._stops: frozenset[int] = frozenset()
        self._closing = False

    @property
    def model(self) -> str:
        """Hash of the weights, or hub id and revision."""
        return self._identity

    @property
    def traits(self) -> Traits:
        """It continues partial replies."""
        return Traits(continues=True)

    async def complete(self, request: Request) -> Completion:
        """Answer, in one batch with the other waiting requests."""
        if self._thread is None:
            self._chat, self._model, self._stops = load(self._config, self._device)
            self._thread = threading.Thread(target=self._decode_loop, name="decoder", daemon=True)
            self._thread.start()
        prompt, partial = self._chat.partial_prompt(request.messages, request.partial or "")
        row = _Row(
            prompt=prompt,
            partial=partial,
            verbatim=request.partial is not None,
            sampling=request.sampling,
            future=Future(),
            random=Random(_seed(request)),
        )
        self._queue.put(row)
        return await asyncio.wrap_future(row.future)

    def worst_case(self, request: Request) -> WorstCase:
        """Return the bounds of a call that costs no money."""
        return free_call(request)

    async def aclose(self) -> None:
        """Stop the decoder and free the model."""
        if self._thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None
            self._model = None
            self._closing = False

    def _decode_loop(self) -> None:
        waiting: list[_Row] = []
        while not self._closing:
            self._gather(waiting, wait=True)
            batch: list[_Row] = []
            try:
                if fits(self._model):
                    self._decode_in_slots(waiting, batch)
                elif waiting:
                    batch.extend(self._take_batch(waiting))
                    self._decode_batch(batch)
            except Exception as error:  # noqa: BLE001 (set on the futures)
                for row in batch:
                    if not row.future.done():
                        row.future.set_exception(_as_completer_error(error))

    def _gather(self, waiting: list[_Row], *, wait: bool) -> None:
        """Move queued requests to ``waiting``, which stays sorted by length.

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
            waiting.append(row)
            if deadline is None:
                deadline = time.monotonic() + GATHER_S
        if len(waiting) > size:
            waiting.sort(key=_length)

    def _take_batch(self, waiting: list[_Row]) -> list[_Row]:
        """Take the longest requests that fit together.

        Those left over are shorter, and fit with the next ones.
        """
        batch: list[_Row] = []
        while waiting and (
            not batch or _length(batch[0]) * (len(batch) + 1) <= self._config.batch_tokens
        ):
            batch.append(waiting.pop())
        return batch

    @torch.inference_mode()
    def _decode_in_slots(self, waiting: list[_Row], rows: list[_Row]) -> None:
        """Decode until no request waits; a row that ends gives its slot to the next request.

        Args:
            waiting: Requests sorted by length; the longest, at the end, are taken first.
            rows: Filled with the rows being decoded, so that the caller can fail them.
        """
        if not waiting:
            return
        width = _length(waiting[-1])
        cache = SlotCache(
            self._model, min(len(waiting), max(1, self._config.batch_tokens // width)), width
        )
        while True:
            free = cache.slots - len(rows)
            if waiting and free >= max(1, cache.slots // REFILL) and _length(waiting[-1]) <= width:
                new = [waiting.pop() for _ in range(min(free, len(waiting)))]
                rows += new
                cache.read(range(len(rows) - len(new), len(rows)), [row.prompt for row in new])
            if not rows:
                return
            # Every row feeds its last token: of the prompt at first, then the one just written.
            fed = [row.written[-1] if row.written else row.prompt[-1] for row in rows]
            positions = [len(row.prompt) + len(row.written) - 1 for row in rows]
            self._append(rows, self._choose(cache.step(fed, positions).float(), rows))
            for i in range(len(rows) - 1, -1, -1):
                if rows[i].finish is not None:
                    self._deliver(rows[i])
                    if i < len(rows) - 1:  # the last row moves into the gap: used slots stay dense
                        cache.move(len(rows) - 1, i)
                        rows[i] = rows[-1]
                    rows.pop()
            if cache.slots > len(rows):
                self._gather(waiting, wait=False)

    @torch.inference_mode()
    def _decode_batch(self, rows: list[_Row]) -> None:
        """Decode until every row has ended."""
        tokens_BT, mask_BT = _pad_left([row.prompt for row in rows], self._device)
        positions_BT = (mask_BT.cumsum(1) - 1).clamp(min=0)
        cache = DynamicCache(config=self._model.config)
        cache_argument = cache_keyword(self._model)
        while rows:
            out = self._model(
                input_ids=tokens_BT,
                attention_mask=mask_BT,
                position_ids=positions_BT,
                use_cache=True,
                logits_to_keep=1,
                **{cache_argument: cache},
            )
            chosen = self._choose(out.logits[:, -1].float(), rows)
            self._append(rows, chosen)
            open_rows = [i for i, row in enumerate(rows) if row.finish is None]
            for row in rows:
                if row.finish is not None:
                    self._deliver(row)
            if not open_rows:
                return
            last_position_B1 = positions_BT[:, -1:]
            if len(open_rows) < len(rows):
                keep = torch.tensor(open_rows, device=self._device)
                cache.batch_select_indices(keep)
                mask_BT, last_position_B1 = mask_BT[keep], last_position_B1[keep]
                rows = [rows[i] for i in open_rows]
            tokens_BT = torch.tensor([[chosen[i]] for i in open_rows], device=self._device)
            mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(rows), 1)], dim=1)
            positions_BT = last_position_B1 + 1

    def _choose(self, logits_BV: torch.Tensor, rows: Sequence[_Row]) -> list[int]:
        """Choose the next token of each row from its logits (B, V)."""
        chosen: list[int] = logits_BV.argmax(1).tolist()
        for i, row in enumerate(rows):
            if row.sampling.temperature > 0:
                chosen[i] = _draw(logits_BV[i], row.sampling, row.random)
        if any(row.sampling.logprobs for row in rows):
            logprobs_BV = logits_BV.log_softmax(1)
            for i, row in enumerate(rows):
                row.logprobs.append(float(logprobs_BV[i, chosen[i]]))
        return chosen

    def _append(self, rows: Sequence[_Row], chosen: Sequence[int]) -> None:
        """Append each row's token, or end the row."""
        for row, token in zip(rows, chosen, strict=True):
            if token in self._stops:
                row.finish, row.ended = "stop", True
                continue
            row.written.append(token)
            if row.sampling.stop and self._find_stop(row) is not None:
                row.finish = "stop"
            elif len(row.written) >= row.sampling.max_tokens:
                row.finish = "length"

    def _decode_row(self, row: _Row) -> str:
        """Return the written text.

        It is decoded together with the partial reply, since a tokenizer may drop a leading blank.
        """
        before = row.prompt[len(row.prompt) - row.partial :]
        return self._decode(before + row.written)[len(self._decode(before)) if before else 0 :]

    def _decode(self, tokens: list[int]) -> str:
        return str(self._chat.tokenizer.decode(tokens, skip_special_tokens=True))

    def _find_stop(self, row: _Row) -> int | None:
        """Return where the first stop text cuts the written text; None if there is none.

        The cut is before the stop text, or behind it for a part of a reply.
        """
        text = self._decode_row(row)
        found = [(text.find(stop), len(stop)) for stop in row.sampling.stop if stop in text]
        if not found:
            return None
        start, length = min(found)
        return start + length if row.verbatim else start

    def _deliver(self, row: _Row) -> None:
        text = self._decode_row(row)
        if row.sampling.stop and (cut := self._find_stop(row)) is not None:
            text = text[:cut]
        reasoning, text = split_thinking(text)
        if not row.verbatim:
            text = text.strip()
        row.future.set_result(
            Completion(
                text=text,
                finish=row.finish or "stop",
                usage=Usage(tokens_in=len(row.prompt), tokens_out=len(row.written) + row.ended),
                reasoning=reasoning,
                logprobs=tuple(row.logprobs) if row.sampling.logprobs else None,
                latency_s=time.perf_counter() - row.started,
            )
        )


def load(config: LocalConfig, device: str) -> tuple[Chat, Any, frozenset[int]]:
    """Return the chat format, the model on ``device``, and the tokens that end an answer.

    Raises:
        ConfigError: The path cannot be loaded as a causal language model.
        MissingExtraError: A LoRA adapter needs the extra ``train``.
    """
    quiet()
    dtype = torch.float32 if config.dtype == "auto" and device == "cpu" else config.dtype
    try:
        tokenizer = AutoTokenizer.from_pretrained(config.path, revision=config.revision)
        model = AutoModelForCausalLM.from_pretrained(
            config.path, revision=config.revision, dtype=dtype
        )
    except (OSError, ValueError, KeyError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"{config.path}: cannot be loaded as a causal language model: {first}"
        ) from error
    if config.adapter is not None:
        model = _with_adapter(model, config.adapter)
    model.to(torch.device(device)).eval()  # type: ignore[arg-type]  # the decorator hides the signature
    return Chat(tokenizer, fallback=config.chat_template), model, stop_tokens(model, tokenizer)


def quiet() -> None:
    """Turn off Transformers' own progress bars."""
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]


def _with_adapter(model: Any, adapter: str) -> Any:
    try:
        from peft import PeftModel
    except ImportError as error:
        raise MissingExtraError("a LoRA adapter", "train") from error
    return PeftModel.from_pretrained(model, adapter).merge_and_unload()


def stop_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end an answer, from the generation config and the tokenizer."""
    configured = model.generation_config.eos_token_id
    stops = set(configured if isinstance(configured, list) else [configured])
    stops |= {tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")}
    return frozenset(
        token for token in stops if token is not None and token != tokenizer.unk_token_id
    )


def _length(row: _Row) -> int:
    """Return the most tokens that a row can reach."""
    return len(row.prompt) + row.sampling.max_tokens


def _pad_left(prompts: Sequence[Sequence[int]], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad prompts on the left; return the tokens and the mask of real tokens, both (B, T)."""
    width = max(map(len, prompts))
    tokens_BT = torch.zeros(len(prompts), width, dtype=torch.long)
    mask_BT = torch.zeros(len(prompts), width, dtype=torch.long)
    for i, prompt in enumerate(prompts):
        tokens_BT[i, width - len(prompt) :] = torch.tensor(prompt)
        mask_BT[i, width - len(prompt) :] = 1
    return tokens_BT.to(device), mask_BT.to(device)


def _draw(logits_V: torch.Tensor, sampling: Sampling, random: Random) -> int:
    """Draw one token by nucleus sampling, with the row's own random numbers."""
    probabilities_V, order_V = (
        (logits_V.double() / sampling.temperature).softmax(0).sort(descending=True)
    )
    cumulative_V = probabilities_V.cumsum(0)
    kept = int((cumulative_V < sampling.top_p).sum()) + 1
    cumulative_V = cumulative_V[:kept]
    place = int(torch.searchsorted(cumulative_V, random.random() * float(cumulative_V[-1])))
    return int(order_V[min(place, kept - 1)])


def _seed(request: Request) -> int:
    """Return a seed that depends on the request alone, not on the rest of the batch."""
    messages, sampling = as_sent(request)
    text = repr((sampling.seed, [(message.role, message.content) for message in messages]))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())


def _as_completer_error(error: Exception) -> Exception:
    if isinstance(error, torch.OutOfMemoryError):
        return CompleterError(
            "server", f"out of memory; lower the student's batch_tokens: {error}", fatal=True
        )
    return error
