"""Prepare the examples of the pool: all that ``sample`` needs of each one alone.

    Preparer(overlap=…, draws=…, facts=())([example, …])
    →  Prepared(rows=…, contents=[hash, …], overlaps={3: "shares 2 runs of 13 words with …"}, …)

Worker processes prepare parts of files. What depends on the examples before, such as duplicates, is
decided in the run's own process from the hashes. A worker imports this module and no verifiers.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from orcinus.core.errors import DataError
from orcinus.core.types import LECTURE, Example
from orcinus.runs import tables
from orcinus.tasks.duplicates.ngrams import normal
from orcinus.tasks.duplicates.overlap import Overlap
from orcinus.tasks.duplicates.seen import hash_of
from orcinus.tasks.files.parts import FilePart
from orcinus.tasks.splits import Drawn, SplitDraws
from orcinus.verifiers.judge_prompts import FACTS

ORIGINAL = "perturbed_from"
"""Where ``meta`` of a perturbed copy holds the text of its original."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Examples of the pool in their order, and what is known of each one alone."""

    rows: pa.Table
    """Their ``EXAMPLES`` rows, in the split ``teach``."""
    names: list[int]
    """Hashes of task and id."""
    own: Sequence[int]
    """Those hashes whose ids are in the file, where the examples are a part of one."""
    reports: Sequence[str]
    """What is wrong with the rows of that part that cannot be used."""
    contents: list[int]
    """Hashes of the whole prompts."""
    originals: Mapping[int, int]
    """Hashes of the texts that examples are copies of, by place."""
    overlaps: Mapping[int, str]
    """How examples overlap with texts that must stay unseen, by place."""
    drawn: list[Drawn]
    """What draws their splits."""
    lectures: frozenset[int]
    """Places of the authored texts without a question."""
    programs: frozenset[int]
    """Places of the examples whose answers are programs."""
    found: Counter[str]
    """Examples that have a fact for the judge, by column."""
    shown: Counter[str]
    """Those of them whose question holds the fact's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preparer:
    """What prepares examples. Workers run it on the parts of files."""

    overlap: Overlap
    """The texts that must stay unseen."""
    draws: SplitDraws
    facts: tuple[str, ...]
    """Columns that the judge is shown."""

    def read(self, part: FilePart | None) -> Prepared | None:
        """Prepare a part of a file.

        Returns:
            None where the run's own process must read it: it is no part of a file, this machine
            does not have the file, or the file cannot be read.
        """
        if part is None or not Path(part.path).exists():
            return None
        reports: list[str] = []
        try:
            reads = list(part.examples(reports.append))
        except DataError:  # the run's own process reads it again and reports it
            return None
        found = self.prepare([read.example for read in reads])
        own = [
            name for name, read in zip(found.names, reads, strict=True) if read.draft.id is not None
        ]
        return replace(found, own=own, reports=reports)

    def prepare(self, examples: Sequence[Example]) -> Prepared:
        """Prepare examples that are no part of a file."""
        found, shown = Counter[str](), Counter[str]()
        texts = [normal(example.whole_prompt) for example in examples]
        if self.facts:
            examples = [
                add_facts(example, self.facts, text, found, shown)
                for example, text in zip(examples, texts, strict=True)
            ]
        is_original = {
            place: text
            for place, example in enumerate(examples)
            if (text := original_of(example)) is not None
        }
        overlaps = self.overlap.reasons([compared_text(example) for example in examples])
        return Prepared(
            rows=tables.examples_table(examples, "teach"),
            names=[hash_of(example.task, example.id) for example in examples],
            own=(),
            reports=(),
            contents=[hash_of(text) for text in texts],
            originals={place: hash_of(normal(text)) for place, text in is_original.items()},
            overlaps={place: why for place, why in enumerate(overlaps) if why is not None},
            drawn=[self.draws(one, text) for one, text in zip(examples, texts, strict=True)],
            lectures=frozenset(
                place for place, example in enumerate(examples) if LECTURE in example.meta
            ),
            programs=frozenset(
                place for place, one in enumerate(examples) if one.answer_type == "program"
            ),
            found=found,
            shown=shown,
        )


def add_facts(
    example: Example,
    columns: Sequence[str],
    text: str,
    found: Counter[str],
    shown: Counter[str],
) -> Example:
    """Return an example whose facts are where the judge finds them.

    Args:
        example: The example.
        columns: Of its row, which hold facts.
        text: ``normal`` of its whole prompt.
        found: Counts the facts by column.
        shown: Counts those whose words are in the question.
    """
    given = {
        name: str(value) for name in columns if (value := example.meta.get(name)) not in (None, "")
    }
    if not given:
        return example
    found.update(list(given))
    shown.update(name for name, fact in given.items() if normal(fact) in text)
    return replace(example, meta={**example.meta, FACTS: given})


def original_of(example: Example) -> str | None:
    """Return the text of the item that a perturbed example is a copy of."""
    original = example.meta.get(ORIGINAL)
    return original if isinstance(original, str) else None


def texts_of(example: Example) -> tuple[str, ...]:
    """Return the text of an example, and that of its original where it is a copy."""
    original = original_of(example)
    return (example.whole_prompt,) if original is None else (example.whole_prompt, original)


def compared_text(example: Example) -> str:
    """Return the text in which overlaps are looked for."""
    return "\n\n".join(texts_of(example))
