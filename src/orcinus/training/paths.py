"""The ways in which lessons can pass through a model in training, from fastest to most general.

    packed        a row is read at once, and attention keeps its lessons apart
    apart         each lesson is read alone, by the model's plain forward pass

    bare head     logits are ``softcap(h Wᵀ)``
    own head      logits are what the model makes of h: bias, scales and caps included

Every path returns the same states for the same batch, in the same order, so the path changes speed
and nothing else. Not every model can take every path: ``self_check.py`` finds the first one that
agrees with the model's plain forward pass.

Shapes: T positions of the packed batch, N response tokens, D hidden width, V vocabulary.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from orcinus.training import attention
from orcinus.training.distributed import processes
from orcinus.training.head import Head, OwnHead

LEAST_FILL = 0.8
"""Lessons are read together where each is at least this part of the longest: at most a fifth of the
tokens is padding."""


@dataclass(frozen=True, slots=True)
class Path:
    """One way through a model."""

    packed: bool = True
    """A whole row at once; False reads each lesson alone."""
    own_head: bool = False
    """Logits by the model's own code; False takes the projection alone."""

    def states(self, model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
        """Return the last hidden states (N, D) at the positions that predict a response token."""
        return _packed_states(model, batch) if self.packed else _states_apart(model, batch)

    def head(self, model: Any) -> Head:
        """Return the model's map from hidden states to logits."""
        projection: Any = model.get_output_embeddings()
        # Only some architectures have the field, and those that do may leave it None.
        softcap = getattr(model.config.get_text_config(), "final_logit_softcapping", None)
        if not self.own_head:
            return Head(projection.weight, softcap)
        return Head(projection.weight, softcap, OwnHead(_OwnLogits(model), _head_parameters(model)))


PATHS = (Path(), Path(own_head=True), Path(packed=False, own_head=True))
"""All paths, fastest first."""


def use_attention(model: Any, path: Path) -> None:
    """Give ``model`` the attention that ``path`` needs: that of packed rows, or its own."""
    attention.install()
    current = model.config._attn_implementation
    if current != attention.NAME:
        model._orcinus_own_attention = current
    wanted = attention.NAME if path.packed else own_attention(model)
    if current != wanted:
        model.set_attn_implementation(wanted)


def own_attention(model: Any) -> str:
    """Return the attention that the model has outside packed rows."""
    own: str | None = getattr(model, "_orcinus_own_attention", None)
    return own or model.get_correct_attn_implementation(None)


def _packed_states(model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
    attention.begin_row(batch["units"])
    hidden_TD: torch.Tensor = _body(model)(
        input_ids=batch["input_ids"],
        position_ids=batch["position_ids"],
        attention_mask=None,
        use_cache=False,
    )[0][0]
    return hidden_TD[batch["predictors"]]


def _states_apart(model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
    """Read each lesson alone; those of about one length together, padded on the right.

    Nothing that comes later reaches a position of a causal model, so padding needs no mask.
    """
    lessons = _split_lessons(batch)
    found: dict[int, torch.Tensor] = {}
    for numbers in _of_about_one_length([len(tokens) for tokens, _ in lessons]):
        width = len(lessons[numbers[0]][0])
        ids_BT = batch["input_ids"].new_zeros(len(numbers), width)
        for row, number in enumerate(numbers):
            tokens, _ = lessons[number]
            ids_BT[row, : len(tokens)] = tokens
        hidden_BTD = _body(model)(input_ids=ids_BT, use_cache=False)[0]
        for row, number in enumerate(numbers):
            tokens, first = lessons[number]
            found[number] = hidden_BTD[row, first - 1 : len(tokens) - 1]
    return torch.cat([found[number] for number in range(len(lessons))])


def _split_lessons(batch: Mapping[str, Any]) -> list[tuple[torch.Tensor, int]]:
    """Return the tokens of each lesson of a packed batch, and the place of the first learnt one."""
    tokens_T, lessons, start = batch["input_ids"][0], [], 0
    for prompt, *responses in batch["units"]:
        shared = tokens_T[start : start + prompt]
        start += prompt
        for length in responses:
            tokens = torch.cat([shared, tokens_T[start : start + length]])
            lessons.append((tokens, max(1, prompt)))
            start += length
    return lessons


def _of_about_one_length(lengths: list[int]) -> Iterator[list[int]]:
    """Group numbers of lessons, longest first.

    Several processes read all in one call: sharded weights are gathered at every call, by all.
    """
    order = sorted(range(len(lengths)), key=lambda number: -lengths[number])
    least = 0.0 if processes.count() > 1 else LEAST_FILL
    group: list[int] = []
    for number in order:
        if group and lengths[number] < least * lengths[group[0]]:
            yield group
            group = []
        group.append(number)
    yield group


class _OwnLogits:
    """Calls a model's forward pass with the hidden states as what its body would return."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(self, hidden_ND: torch.Tensor) -> torch.Tensor:
        """Return the logits (N, V)."""
        model = self._model
        ids_1N = torch.zeros(1, len(hidden_ND), dtype=torch.long, device=hidden_ND.device)
        with _body_returns(model, hidden_ND[None]):
            # Not model(…): the hooks of sharding belong to the call that this one is part of.
            logits_NV: torch.Tensor = model.forward(input_ids=ids_1N, use_cache=False).logits[0]
        return logits_NV


class _States(tuple[torch.Tensor]):
    """A model's output, with hidden states alone: every other field is None."""

    __slots__ = ()

    @property
    def last_hidden_state(self) -> torch.Tensor:
        """The hidden states (1, N, D)."""
        return self[0]

    def __getattr__(self, name: str) -> None:
        if name.startswith("__"):
            raise AttributeError(name)


def _body(model: Any) -> Any:
    """Return the part of ``model`` that makes hidden states from tokens."""
    if model.base_model is not model:
        return model.base_model
    inputs = model.get_input_embeddings()
    for part in model.children():
        if part is not inputs and any(inner is inputs for inner in part.modules()):
            return part
    raise TypeError("its body and its head are not told apart")


@contextmanager
def _body_returns(model: Any, hidden_1ND: torch.Tensor) -> Iterator[None]:
    body, states = _body(model), _States((hidden_1ND,))
    body.forward = lambda *_, **__: states
    try:
        yield
    finally:
        del body.forward  # the class's own again


def _head_parameters(model: Any) -> tuple[torch.nn.Parameter, ...]:
    """Return the parameters outside the body, and the projection's, which may be tied into it."""
    inside = {id(parameter) for parameter in _body(model).parameters()}
    outside = [parameter for parameter in model.parameters() if id(parameter) not in inside]
    projection = list(model.get_output_embeddings().parameters())
    return tuple({id(parameter): parameter for parameter in outside + projection}.values())
