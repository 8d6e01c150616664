"""Decode many rows with one model, in the fastest of three ways that is exact for it.

    slots    rows of any length in one cache, refilled as rows end      full attention
    batch    rows padded to one length, with Transformers' own cache    windows, recurrent states
    alone    one row at a time, with the model's own ``generate``       every model

``self_check.py`` chooses the way. A greedy answer does not depend on the rest of the batch, and a
sampled one depends only on its seed.

Shapes: B rows, T positions, V vocabulary.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import InvalidStateError
from contextlib import suppress
from itertools import accumulate
from random import Random
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList
from transformers.cache_utils import DynamicCache

from orcinus.core.scoring import TokenScores, written_scores
from orcinus.core.token_bytes import bytes_written, reply_bytes
from orcinus.core.types import Completion, Sampling, Scoring, Usage
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.products import multiply_in_blocks
from orcinus.models.local.rows import Row, Way, length_of
from orcinus.models.local.slots import SlotCache, cache_keyword
from orcinus.models.remote.thinking import split_thinking

FEWEST_SLOTS = 4
"""Slots, also for a single request: others that come later need not wait until it has ended."""
REFILL = 8
"""Free slots are refilled once they are an eighth of all: reading prompts one at a time would cost
as much as it gains."""


class Decoder:
    """A loaded model, and the ways to write answers with it.

    Args:
        chat: The chat format.
        model: The model, used for nothing but decoding.
        stops: Tokens that end an answer.
        batch_tokens: Prompt and written tokens decoded at once.
    """

    def __init__(self, chat: Chat, model: Any, stops: frozenset[int], batch_tokens: int) -> None:
        self._chat, self._model, self._stops = chat, model, stops
        self._batch_tokens = batch_tokens
        # The request alone decides the sampling: ``generate`` must not add the penalties or the
        # end that the model's folder recommends.
        model.generation_config = GenerationConfig(pad_token_id=0)  # type: ignore[no-untyped-call]
        multiply_in_blocks(model)

    @property
    def vocabulary(self) -> int:
        """Tokens that the model can read."""
        return int(self._model.get_input_embeddings().num_embeddings)

    def decode(
        self, way: Way, waiting: list[Row], rows: list[Row], gather: Callable[[], None]
    ) -> None:
        """Decode waiting rows: all of them in slots, otherwise one batch or one row.

        Args:
            way: How.
            waiting: Rows sorted by length; the longest, at the end, are taken first.
            rows: Filled with the rows being decoded, so that the caller can fail them.
            gather: Adds requests that have arrived to ``waiting``, without waiting.
        """
        if not waiting:
            return
        if way == "slots":
            self._decode_in_slots(waiting, rows, gather)
        elif way == "batch":
            rows.extend(self._take_batch(waiting))
            self._decode_batch(rows)
        else:
            rows.append(waiting.pop())
            self._decode_alone(rows[0])

    @torch.inference_mode()
    def score(self, scoring: Scoring) -> Completion:
        """Return what the model thinks of each token of a response, in one forward pass.

        A text is read alone, so that its scores do not depend on other requests.
        """
        started = time.perf_counter()
        tokens = [*scoring.prompt, *scoring.response]
        out = self._model(
            input_ids=torch.tensor([tokens], device=self._model.device),
            logits_to_keep=len(scoring.response) + 1,
        )
        logprobs_NV = out.logits[0, -len(scoring.response) - 1 : -1].float().log_softmax(1)
        top_NK = logprobs_NV.topk(min(scoring.top, logprobs_NV.shape[1]), dim=1)
        own_N = logprobs_NV.gather(
            1, torch.tensor(scoring.response)[:, None].to(logprobs_NV.device)
        )
        scores = []
        for token, own, ids, values in zip(
            scoring.response,
            own_N[:, 0].tolist(),
            top_NK.indices.tolist(),
            top_NK.values.tolist(),
            strict=True,
        ):
            others = (pair for pair in zip(ids, values, strict=True) if pair[0] != token)
            said = str(self._chat.tokenizer.decode([token]))
            scores.append(TokenScores(said, ((token, own), *others)))
        return Completion(
            text=written_scores(scores),
            finish="stop",
            usage=Usage(tokens_in=len(tokens), tokens_out=0),
            latency_s=time.perf_counter() - started,
        )

    def _take_batch(self, waiting: list[Row]) -> list[Row]:
        """Take the longest requests that fit together.

        Those left over are shorter, and fit with the next ones.
        """
        batch: list[Row] = []
        while waiting and (
            not batch or length_of(batch[0]) * (len(batch) + 1) <= self._batch_tokens
        ):
            batch.append(waiting.pop())
        return batch

    @torch.inference_mode()
    def _decode_in_slots(
        self, waiting: list[Row], rows: list[Row], gather: Callable[[], None]
    ) -> None:
        """Decode until no request waits; a row that ends gives its slot to the next request."""
        width = length_of(waiting[-1])
        cache = SlotCache(
            self._model,
            min(max(len(waiting), FEWEST_SLOTS), max(1, self._batch_tokens // width)),
            width,
        )
        while True:
            free = cache.slots - len(rows)
            if (
                waiting
                and free >= max(1, cache.slots // REFILL)
                and length_of(waiting[-1]) <= width
            ):
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
                gather()

    @torch.inference_mode()
    def _decode_batch(self, rows: list[Row]) -> None:
        """Decode until every row has ended."""
        tokens_BT, mask_BT = _pad_left([row.prompt for row in rows], self._model.device)
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
                keep: Any = torch.tensor(open_rows, device=self._model.device)
                # Not batch_select_indices, which recurrent states do not have.
                cache.reorder_cache(keep)
                mask_BT, last_position_B1 = mask_BT[keep], last_position_B1[keep]
                rows = [rows[i] for i in open_rows]
            tokens_BT = torch.tensor([[chosen[i]] for i in open_rows], device=self._model.device)
            mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(rows), 1)], dim=1)
            positions_BT = last_position_B1 + 1

    @torch.inference_mode()
    def _decode_alone(self, row: Row) -> None:
        """Decode one row with the model's own ``generate``, which is told each token to write."""

        def choose(_: torch.Tensor, logits_1V: torch.Tensor) -> torch.Tensor:
            [token] = self._choose(logits_1V.float(), [row])
            self._append([row], [token])
            only_1V = torch.full_like(logits_1V, float("-inf"))
            only_1V[:, token] = 0
            return only_1V

        def has_ended(tokens_1T: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
            return torch.tensor([row.finish is not None], device=tokens_1T.device)

        prompt_1T = torch.tensor([row.prompt], device=self._model.device)
        self._model.generate(
            prompt_1T,
            attention_mask=torch.ones_like(prompt_1T),
            max_new_tokens=row.sampling.max_tokens,
            do_sample=False,
            logits_processor=LogitsProcessorList([choose]),
            stopping_criteria=StoppingCriteriaList([has_ended]),
        )
        self._deliver(row)

    def _choose(self, logits_BV: torch.Tensor, rows: Sequence[Row]) -> list[int]:
        """Choose the next token of each row from its logits (B, V)."""
        chosen: list[int] = logits_BV.argmax(1).tolist()
        for i, row in enumerate(rows):
            if row.script is not None:
                chosen[i] = row.script.follow(logits_BV[i])
            elif row.sampling.temperature > 0:
                chosen[i] = _draw(logits_BV[i], row.sampling, row.random)
        if any(row.sampling.logprobs for row in rows):
            logprobs_BV = logits_BV.log_softmax(1)
            for i, row in enumerate(rows):
                row.logprobs.append(float(logprobs_BV[i, chosen[i]]))
        return chosen

    def _append(self, rows: Sequence[Row], chosen: Sequence[int]) -> None:
        """Append each row's token, or end the row."""
        for row, token in zip(rows, chosen, strict=True):
            if row.future.cancelled():
                row.finish = "stop"  # its slot is free for another
                continue
            if token in self._stops:
                row.finish, row.ended = "stop", True
                continue
            row.written.append(token)
            if row.sampling.stop and self._find_stop(row) is not None:
                row.finish = "stop"
            elif len(row.written) >= row.sampling.max_tokens:
                row.finish = "length"

    def _decode_row(self, row: Row) -> str:
        """Return the written text.

        It is decoded together with the partial reply, since a tokenizer may drop a leading blank.
        """
        before = row.prompt[len(row.prompt) - row.partial :]
        return self._decode(before + row.written)[len(self._decode(before)) if before else 0 :]

    def _decode(self, tokens: list[int]) -> str:
        return str(self._chat.tokenizer.decode(tokens, skip_special_tokens=True))

    def _find_stop(self, row: Row) -> int | None:
        """Return where the first stop text cuts the written text; None if there is none.

        The cut is before the stop text, or behind it for a part of a reply.
        """
        text = self._decode_row(row)
        found = [(text.find(stop), len(stop)) for stop in row.sampling.stop if stop in text]
        if not found:
            return None
        start, length = min(found)
        return start + length if row.verbatim else start

    def _deliver(self, row: Row) -> None:
        text = self._decode_row(row)
        if row.sampling.stop and (cut := self._find_stop(row)) is not None:
            text = text[:cut]
        reasoning, text = split_thinking(text)
        if not row.verbatim:
            text = text.strip()
        completion = Completion(
            text=text,
            finish=row.finish or "stop",
            usage=Usage(tokens_in=len(row.prompt), tokens_out=len(row.written) + row.ended),
            reasoning=reasoning,
            logprobs=tuple(row.logprobs) if row.sampling.logprobs else None,
            token_bytes=self._token_bytes(row, reasoning, text) if row.sampling.logprobs else None,
            latency_s=time.perf_counter() - row.started,
        )
        with suppress(InvalidStateError):  # cancelled: nobody waits for it any more
            row.future.set_result(completion)

    def _token_bytes(self, row: Row, reasoning: str | None, text: str) -> tuple[int, ...] | None:
        """Return how many bytes of the reply each written token is; None for a part of a reply."""
        if row.verbatim:
            return None
        raw = self._decode_row(row).encode()
        lengths = bytes_written(self._decode, row.written)
        if sum(lengths) != len(raw):  # a tokenizer that tidies what it decodes
            return None
        starts = accumulate(lengths, initial=0)
        tokens = [raw[start : start + n] for start, n in zip(starts, lengths, strict=False)]
        ends = [b""] * row.ended
        return reply_bytes([*tokens, *ends], reasoning, text)


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
