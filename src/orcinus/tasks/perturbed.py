"""Fresh copies of items that cannot have been learnt by heart: other names and numbers, same task.

    {perturbed: {path: test.jsonl, seed: 7}}
    "Anna met Bo in Paris. Who met Bo?"  →  "Clara met Ivan in Velor. Who met Ivan?", answer Clara

An item of a built-in generator becomes a new question of the same size. An item with a ``formula``
column gets other numbers and the answer that follows. Names are replaced in the question, its
context, its options and its answer alike (``renaming.py``). A copy that would change more than
that is left out, with the reason.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from orcinus.core.types import Example
from orcinus.tasks.config import PerturbedRecords, RecordsConfig
from orcinus.tasks.files.drafts import Unusable
from orcinus.tasks.files.records import Records, Skipped
from orcinus.tasks.formulas import with_new_numbers
from orcinus.tasks.generators.generator import Generator
from orcinus.tasks.generators.procedural import GENERATORS
from orcinus.tasks.prepared import ORIGINAL
from orcinus.tasks.renaming import Names, left_over, renamed, same_relations

VERSION = 1
"""Raised when copies change for the same seed."""
SUFFIX = " (perturbed)"
"""Added to the name of a task whose items are copies."""
_SIZES = range(2, 65)
"""Sizes that a generator can draw."""
_OF_SPELLING = re.compile(
    r"\b(letters?|spell\w*|alphabet\w*|syllables?|rhym\w*|anagrams?|palindromes?|vowels?|"
    r"consonants?|acronyms?|characters?|sort\w*|capitali[sz]ed)\b",
    re.IGNORECASE,
)
"""Words of a question whose answer depends on how other words are written."""


class Perturbed:
    """The copies of one configured task; call it for a fresh pass."""

    def __init__(self, config: PerturbedRecords, base: Path) -> None:
        self._config = config
        self._records = Records(
            RecordsConfig(**config.model_dump(exclude={"seed"}, exclude_unset=True)), base
        )
        self.skipped = Skipped()
        """The items of the latest pass that have no copy."""
        self.unused: tuple[str, ...] = ()
        """Columns that nothing came from; those of the items are noted where these are read."""

    def __call__(self) -> Iterator[Example]:
        """Yield the copies in the items' order; the errors are those of ``pairs``."""
        return (copy for _, copy in self.pairs())

    def pairs(self) -> Iterator[tuple[Example, Example]]:
        """Yield each item that has a copy, and the copy.

        Raises:
            ConfigError: There is no such file.
            DataError: A row cannot be used, or no item has a copy.
        """
        self.skipped = Skipped()
        names = Names(_texts_of_all(self._records()), seed=self._config.seed)
        made = 0
        for example in self._records():
            try:
                copy = perturb(example, names, seed=self._config.seed)
            except Unusable as error:
                self.skipped(f"{example.task}/{example.id}: {error}")
            else:
                made += 1
                yield example, copy
        if not made:
            raise self.skipped.refuse_all(self._config.path)


def _texts_of_all(examples: Iterable[Example]) -> Iterator[str]:
    for example in examples:
        yield from _texts(example).values()


def _texts(example: Example) -> dict[str, str]:
    """Return the texts of an item by what they are."""
    reference = example.reference
    references = (reference,) if isinstance(reference, str) else reference or ()
    found = {"the question": example.prompt}
    found |= {f"option {chr(ord('A') + i)}": text for i, text in enumerate(example.choices or ())}
    found |= {f"the answer {i}": text for i, text in enumerate(references)}
    found |= {f"turn {i}": turn.content for i, turn in enumerate(example.history)}
    if isinstance(context := example.meta.get("context"), str):
        found["the context"] = context
    return found


def perturb(example: Example, names: Names, *, seed: int) -> Example:
    """Return a copy of an item with other names and numbers.

    Args:
        example: The item.
        names: The names of all items.
        seed: Another seed makes another copy.

    Raises:
        Unusable: There is none, or its answer would not follow from it.
    """
    for generator in GENERATORS.values():
        if (size := _size_of(generator, example)) is not None:
            return _redrawn(generator, example, size, seed)
    copy, formula = example, example.meta.get("formula")
    if formula is not None:
        copy = _with_numbers(example, str(formula), seed)
    renaming = names.found_in(_texts(example).values())
    if not renaming and formula is None:
        raise Unusable("holds no name to replace, and has no formula")
    if (example.answer_type == "list" or _OF_SPELLING.search(example.prompt)) and renaming:
        raise Unusable("its answer depends on how words are written; new names change it")
    new = _with_names(copy, renaming)
    check_copy(copy, new, renaming)
    return _marked(new, example, seed)


def check_copy(old: Example, new: Example, renaming: dict[str, str]) -> None:
    """Check that a copy differs in its names alone.

    Raises:
        Unusable: An old name is left, a relation is lost, or the answer does not follow any more.
    """
    before, after = _texts(old), _texts(new)
    for where, text in after.items():
        if (left := left_over(text, renaming)) is not None:
            raise Unusable(f"{left!r} is still in {where} of the copy")
    for where, text in before.items():
        if not same_relations(text, after[where], renaming):
            raise Unusable(f"the relations in {where} of the copy are not those of the item")
    if new.choices is not None and len(set(new.choices)) < len(set(old.choices or ())):
        raise Unusable("two options of the copy are equal")
    shown = " ".join(text for where, text in before.items() if not where.startswith("the answer"))
    for where, text in before.items():
        if not where.startswith("the answer"):
            continue
        unknown = [name for name in renaming if name in text and name not in shown]
        if unknown:
            raise Unusable(
                f"its answer {unknown[0]!r} is nowhere in the question: it asks for knowledge"
            )


def _with_names(example: Example, renaming: dict[str, str]) -> Example:
    def new(text: str) -> str:
        return renamed(text, renaming)

    reference, choices = example.reference, example.choices
    meta: dict[str, Any] = dict(example.meta)
    if isinstance(meta.get("context"), str):
        meta["context"] = new(meta["context"])
    if "history" in meta:
        meta["history"] = [{**turn, "content": new(turn["content"])} for turn in meta["history"]]
    return replace(
        example,
        prompt=new(example.prompt),
        choices=None if choices is None else tuple(map(new, choices)),
        reference=new(reference)
        if isinstance(reference, str)
        else None
        if reference is None
        else tuple(map(new, reference)),
        meta=meta,
    )


def _with_numbers(example: Example, formula: str, seed: int) -> Example:
    if not isinstance(example.reference, str):
        raise Unusable("has a formula, and no single answer")
    random = Random(f"numbers/{seed}/{example.task}/{example.id}")
    try:
        prompt, answer = with_new_numbers(example.prompt, formula, example.reference, random)
    except ValueError as error:
        raise Unusable(f"formula {formula!r:.60}: {error}") from error
    return replace(example, prompt=prompt, reference=answer)


def _size_of(generator: Generator, example: Example) -> int | None:
    """Return the size of a generator's question; None if the generator does not ask it.

    It is the row's ``difficulty``, or else the size whose questions have as many words.
    """
    if generator.pattern.fullmatch(example.prompt) is None:
        return None
    size = example.meta.get("difficulty")
    if isinstance(size, int) and size in _SIZES:
        return size
    words = len(example.prompt.split())
    drawn = {}
    for number in _SIZES:
        with suppress(ValueError, StopIteration):  # a generator may not draw the largest sizes
            drawn[number] = generator.draw(Random(f"size/{number}"), number)
    return min(drawn, key=lambda size: abs(words - len(drawn[size].split())))


def _redrawn(generator: Generator, example: Example, size: int, seed: int) -> Example:
    """Return another question of the same generator and size."""
    first = Random(f"redrawn/{seed}/{example.prompt}").randrange(2**31)
    for number in range(first, first + 100):
        new = generator.make(number, seed=seed, size=(size, size), task=example.task)
        if new.prompt != example.prompt:
            copy = replace(
                example,
                prompt=new.prompt,
                choices=new.choices,
                reference=new.reference,
                meta={**example.meta, **new.meta},
            )
            return _marked(copy, example, seed)
    raise Unusable(f"there is no other question of {generator.name} of size {size}")


def _marked(copy: Example, example: Example, seed: int) -> Example:
    """Return a copy that is named as one and knows its original."""
    if copy.whole_prompt == example.whole_prompt:
        raise Unusable("the copy is the item itself")
    meta = {name: value for name, value in copy.meta.items() if name != "formula"}
    return replace(
        copy,
        id=f"{example.id}~{seed}",
        task=f"{example.task}{SUFFIX}",
        meta={**meta, ORIGINAL: example.whole_prompt},
    )


def closed_book(example: Example) -> Example | None:
    """Return the item without the text that its answer is found in; None where it has none.

    That text is ``meta.context``, or all paragraphs but the last.
    """
    context = example.meta.get("context")
    if isinstance(context, str) and context in example.prompt:
        left = example.prompt.replace(context, "").strip()
    else:
        before, _, left = example.prompt.rpartition("\n\n")
        left = left.strip() if before.strip() else ""
    if not left:
        return None
    return replace(example, prompt=left, meta={**example.meta, "history": []})


def leakage(right: int, asked: int, chance: float) -> float:
    """Return how much of a set is known by heart: the share right closed-book, less chance."""
    return right / asked - chance


def removed(before: float, after: float) -> float | None:
    """Return the share of the leakage that copies remove; None where there was none."""
    return None if before <= 0 else 1 - after / before
