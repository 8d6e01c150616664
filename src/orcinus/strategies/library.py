"""The built-in strategies and system messages, read from ``strategies.yaml``.

    built_in()["step_by_step"].system  →  "Work through the problem in small numbered steps …"

The texts are data: a recipe can replace any of them or add its own.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from orcinus.core.errors import ConfigError
from orcinus.core.protocols import Asked
from orcinus.core.types import Strategy


@cache
def _texts() -> dict[str, Any]:
    text = files("orcinus.strategies").joinpath("strategies.yaml").read_text(encoding="utf-8")
    data: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return data


@cache
def built_in() -> Mapping[str, Strategy]:
    """Return the built-in strategies by name, the cheapest first."""
    cue = _texts()["answer_cue"]
    known = {
        name: Strategy(
            name=name,
            system=entry["system"] + (f" {cue}" if entry.get("cue", True) else ""),
            source=entry["source"],
            cost_rank=entry["cost_rank"],
            answer_types=tuple(entry.get("answer_types", ())),
        )
        for name, entry in _texts()["strategies"].items()
    }
    for name, entry in _texts()["strategies"].items():
        if "fallback" in entry:
            known[name] = replace(known[name], fallback=known[entry["fallback"]])
    return dict(sorted(known.items(), key=lambda item: item[1].cost_rank))


@cache
def drawn_strategies() -> Mapping[str, Strategy]:
    """Return the built-in strategies whose message depends on the example: ``orca`` and others."""
    return {
        name: Strategy(name=name, system="", **entry) for name, entry in _texts()["drawn"].items()
    }


def resolve(names: list[str], own: Mapping[str, Strategy]) -> tuple[Strategy, ...]:
    """Return the strategies called ``names``; the user's ``own`` replace built-in ones.

    Raises:
        ConfigError: A name is unknown; the message lists the known ones.
    """
    known = {**built_in(), **drawn_strategies(), **own}
    for name in names:
        if name not in known:
            raise ConfigError(f"no strategy named {name!r}; known: {', '.join(known)}")
    return tuple(known[name] for name in names)


def by_name(strategies: Iterable[Strategy]) -> dict[str, Strategy]:
    """Return the strategies by name, and those they fall back on."""
    listed = {strategy.name: strategy for strategy in strategies}
    return {s.fallback.name: s.fallback for s in listed.values() if s.fallback is not None} | listed


def skill_texts() -> Mapping[str, str]:
    """Return the parts of the prompt that asks for a skill: ``system``, ``draft`` and others."""
    texts: Mapping[str, str] = _texts()["skill"]
    return texts


def answer_cue() -> str:
    """Return the sentence that asks for the answer in a form that verifiers find."""
    return str(_texts()["answer_cue"])


@cache
def generic_messages() -> Mapping[str, str]:
    """Return the messages that replace an erased strategy: ``cautious``, ``cautious-1`` …"""
    generic = _texts()["generic"]
    return {
        "cautious": generic["cautious"],
        **{f"cautious-{i}": text for i, text in enumerate(generic["paraphrases"], 1)},
    }


def orca_messages(example: Asked) -> tuple[str, ...]:
    """Return those of Orca's sixteen system messages that suit an example, in our words.

    They depend on the example's ``meta.collection``: ``cot``, ``niv2``, ``t0`` or ``flan2021``,
    where Flan 2021 has other messages for questions with options. An example of another collection,
    or of none, gets those of ``t0``, which assume nothing (Orca, arXiv:2306.02707, Figure 6).
    """
    sets: Mapping[str, Sequence[int]] = _texts()["collections"]
    collection = str(example.meta.get("collection"))
    numbers = sets.get(f"{collection}_choice") if example.answer_type == "choice" else None
    return tuple(
        _texts()["system_messages"][number]
        for number in numbers or sets.get(collection, sets["t0"])
    )


def messages_of(strategy: Strategy) -> tuple[str, ...]:
    """Return all system messages that a strategy can have; nothing where they come from rows."""
    match strategy.system_from:
        case "strategy":
            return (strategy.system,)
        case "row":
            return ()
        case "collection":
            return tuple(_texts()["system_messages"].values())
