r"""Read what a model says about a passage as concepts and relations, and join these to chains.

    "lever | turns about | pivot\npivot | carries | load"
    →  concepts lever, pivot, load; two relations; the chain lever → pivot → load

Questions on concepts and relations are for lessons, and those on chains for the test: who was
taught the parts is asked for the whole (ProDa).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

from orcinus.core.fingerprint import fingerprint
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import Attempt, Example, Message, Request
from orcinus.tasks.authored.units import Focus, Level, Unit

VERSION = 2
"""Raised when the messages change, or how replies are read."""
EXTRACTOR = "extractor"
"""Name of the strategy under which the calls stand in the ledger."""
SYSTEM = (
    "You list what a text says. For each relation between two of its concepts write one line: "
    "concept | relation | concept. Name a concept always in the same words, and only in words that "
    "stand in the text. Write nothing else."
)
"""What the model is told that finds the relations."""
ASK: Mapping[Level, str] = {
    "concept": "Ask about this concept of the text alone: {text}",
    "relation": "Ask about this relation of the text alone: {text}",
    "chain": "Ask what follows from these relations of the text together, so that neither is "
    "enough: {text}",
}
"""What the author is told to ask about."""
Relation = tuple[str, str, str]


def extraction_request(unit: Unit, sampling: SamplingConfig, seed: int) -> Request:
    """Return the request for the relations in a passage.

    It does not name the task, so that tasks on the same documents pay for it once.
    """
    text = unit.text or ""
    example = Example(
        id=fingerprint(text, length=16), task="concepts", prompt=text, answer_type="free"
    )
    messages = (Message(role="system", content=SYSTEM), Message(role="user", content=text))
    return Request(
        example=example,
        strategy=EXTRACTOR,
        messages=messages,
        sampling=sampling.sampling(0, seed),
    )


def relations_in(reply: Attempt, text: str) -> list[Relation]:
    """Return the relations in a reply whose two concepts occur in the passage, each once."""
    passage, found = text.casefold(), []
    for line in reply.text.splitlines():
        parts = [" ".join(part.split()) for part in line.strip(" -*•").split("|")]
        if len(parts) != 3 or not all(parts) or parts[0].casefold() == parts[2].casefold():
            continue
        if parts[0].casefold() in passage and parts[2].casefold() in passage:
            found.append((parts[0], parts[1], parts[2]))
    return list(dict.fromkeys(found))


def chains_in(relations: Sequence[Relation]) -> Iterator[tuple[Relation, Relation]]:
    """Yield the pairs of relations of which the second begins where the first one ends."""
    for first, second in product(relations, relations):
        start, middle, other, end = (
            name.casefold() for name in (first[0], first[2], second[0], second[2])
        )
        if middle == other and start != end:
            yield first, second


def focused(unit: Unit, relations: Sequence[Relation], levels: Sequence[Level]) -> list[Unit]:
    """Return the passage once for each thing in it that a question may be about."""
    concepts = dict.fromkeys(name for one, _, two in relations for name in (one, two))
    parts: dict[Level, list[tuple[Relation, ...] | str]] = {
        "concept": list(concepts),
        "relation": [(relation,) for relation in relations],
        "chain": list(chains_in(relations)),
    }
    return [replace(unit, focus=_focus(level, part)) for level in levels for part in parts[level]]


def _focus(level: Level, part: tuple[Relation, ...] | str) -> Focus:
    if isinstance(part, str):
        return Focus(level=level, text=part, concepts=(part,))
    relations = tuple(" ".join(relation) for relation in part)
    return Focus(
        level=level,
        text="; ".join(relations),
        concepts=tuple(dict.fromkeys(name for one, _, two in part for name in (one, two))),
        relations=relations,
    )
