"""Check that a model's answers are those of its own ``generate`` before the first one is given.

    two short scripted answers ──► slots | batch | alone ──► the logits at each token agree?

Two rows are written in each way, token by token after one script, and the logits are compared with
those of ``generate``. The rows share a prefix, the first one ends early, and the other moves into
its place: these are the things that the fast ways do by themselves. The fastest way that agrees is
used. The result depends on the kind of model, not on its weights, and is kept for the process.
"""

import json
from collections.abc import Sequence
from concurrent.futures import Future
from random import Random
from typing import Any

import torch

from orcinus.core.errors import ConfigError
from orcinus.core.types import Sampling
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.decoding import Decoder
from orcinus.models.local.rows import Row, Script, Way
from orcinus.models.local.slots import MIN_SHARED, fits

TOLERANCE = 1e-3
"""Largest difference of a step's logits, as a share of their spread, for weights of 32 bits.
Measured with tiny models of the families of Transformers: at most 1.3e-6 where decoding is right,
and at least 7.7e-3 where it is wrong."""
HALF_TOLERANCE = 0.05
"""The same for weights of 16 bits, where rounding alone makes 0.02 with 24 layers."""
ROUNDING, MOST = 3.0, 0.5
"""With 16 bits a mixture of experts or a recurrent state makes more: up to 0.09 with 24 layers. So
as much is allowed as ROUNDING times the difference between two of the model's own ways, its
``generate`` and its forward pass without a cache, but never more than MOST."""
TEXT = "Which of these numbers is larger than 7 and smaller than 12: 3, 9 or 15? Why is it so?"
"""The tokens of this text are those of the prompts and the scripts."""
PROMPTS, ANSWERS = (MIN_SHARED + 12, MIN_SHARED + 4), (2, 5)
"""Tokens of each row's prompt and answer."""
COST = {
    "batch": "so answers are decoded in batches: somewhat slower, for a place in a batch is not "
    "filled again",
    "alone": "so the model's own generate writes one answer at a time: many times slower where "
    "many questions wait",
}
"""What each slower way costs, for the user."""
_known: dict[str, tuple[Way, str]] = {}


def choose_way(decoder: Decoder, chat: Chat, model: Any, name: str) -> tuple[Way, str]:
    """Return the fastest exact way to decode, and a line for the user if a faster one is refused.

    Args:
        decoder: The decoder of ``model``.
        chat: Its chat format.
        model: The loaded model.
        name: What the user calls the model.

    Raises:
        ConfigError: The model cannot write anything, not even with its own ``generate``.
    """
    settings = {**model.config.to_dict(), "_name_or_path": ""}
    kind = [type(model).__qualname__, str(model.dtype), model.device.type, settings]
    key = json.dumps(kind, default=str, sort_keys=True)
    if key not in _known:
        _known[key] = compare_ways(decoder, chat, model, name)
    way, refused = _known[key]
    return way, f"{name}: {refused}, {COST[way]}" if refused else ""


def difference_from_generate(decoder: Decoder, chat: Chat, way: Way) -> float:
    """Return the largest difference of a step's logits from those of ``generate``.

    It is a root mean square, as a share of the logits' spread.
    """
    tokens = _tokens_to_use(chat)
    return _difference(_write(decoder, way, tokens), _write(decoder, "alone", tokens))


def compare_ways(decoder: Decoder, chat: Chat, model: Any, name: str) -> tuple[Way, str]:
    """Return the fastest exact way, and what is wrong with the last faster one.

    The arguments and the errors are those of ``choose_way``.
    """
    tokens = _tokens_to_use(chat)
    allowed = TOLERANCE
    try:
        wanted = _write(decoder, "alone", tokens)
        if model.dtype.itemsize < 4:
            rounding = _difference(_read_at_once(model, tokens), wanted)
            allowed = min(MOST, max(HALF_TOLERANCE, ROUNDING * rounding))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise ConfigError(
            f"{name}: a model of type {model.config.model_type} cannot answer in this process, for "
            f"its own generate fails ({_first_line(error)}); serve it and give its URL"
        ) from error
    ways: list[Way] = ["slots", "batch"] if fits(model) else ["batch"]
    refused = ""
    for way in ways:
        try:
            difference = _difference(_write(decoder, way, tokens), wanted)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # noqa: BLE001 (any layer that this way does not know)
            refused = f"decoding in {way} fails ({_first_line(error)})"
            continue
        if difference <= allowed:
            return way, refused
        refused = f"decoding in {way} is not exact (logits differ by {difference:.2g} spreads)"
    return "alone", refused


def _tokens_to_use(chat: Chat) -> list[int]:
    """Return ordinary tokens: no special one, which could stand for an image or end an answer."""
    return list(chat.tokenizer(TEXT, add_special_tokens=False)["input_ids"])


def _scripted_rows(tokens: Sequence[int]) -> list[tuple[Row, Script]]:
    """Return the rows of the check, always the same, each with its script."""
    random = Random(0)
    shared = random.choices(tokens, k=MIN_SHARED)
    rows = []
    for prompt, answer in zip(PROMPTS, ANSWERS, strict=True):
        own = random.choices(tokens, k=prompt - MIN_SHARED)
        script = Script(random.choices(tokens, k=answer))
        row = Row(
            prompt=shared + own,
            partial=0,
            verbatim=False,
            sampling=Sampling(max_tokens=answer),
            future=Future(),
            random=random,
            script=script,
        )
        rows.append((row, script))
    return rows


def _write(decoder: Decoder, way: Way, tokens: Sequence[int]) -> list[torch.Tensor]:
    """Write the scripted rows in one way; return each row's logits (steps, V)."""
    rows = _scripted_rows(tokens)
    # The longer prompt is taken first, and its answer is the shorter one.
    waiting = sorted((row for row, _ in rows), key=lambda row: len(row.prompt))
    while waiting:
        decoder.decode(way, waiting, [], lambda: None)
    return [torch.stack(script.logits_V) for _, script in rows]


@torch.inference_mode()
def _read_at_once(model: Any, tokens: Sequence[int]) -> list[torch.Tensor]:
    """Read each scripted row in one forward pass without a cache; return its logits (steps, V)."""
    found = []
    for row, script in _scripted_rows(tokens):
        ids_1T = torch.tensor([[*row.prompt, *script.tokens[:-1]]], device=model.device)
        logits_TV = model(input_ids=ids_1T, use_cache=False).logits[0]
        found.append(logits_TV[len(row.prompt) - 1 :].float())
    return found


def _difference(found: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> float:
    """Return the largest root mean square difference of a step's logits, per their spread."""
    worst = 0.0
    for one_SV, other_SV in zip(found, wanted, strict=True):
        error_S = (one_SV - other_SV).square().mean(1).sqrt()
        share = float((error_S / other_SV.std(1).clamp(min=1e-12)).max())
        worst = max(worst, share) if share == share else float("inf")
    return worst


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:120]}" if text else type(error).__name__
