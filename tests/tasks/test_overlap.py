"""The index of texts that must stay unseen, against counts of runs made one by one."""

import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pytest

from orcinus.tasks.duplicates import overlap
from orcinus.tasks.duplicates.ngrams import hashed_words, normal
from orcinus.tasks.duplicates.overlap import TEMPLATE_TEXTS, Overlap


def runs_of(text: str, n: int) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[k : k + n]) for k in range(max(1, len(words) - n + 1))} if words else set()


def shared_runs(held: Sequence[str], asked: Sequence[str], n: int) -> dict[tuple[int, int], int]:
    """Count the runs that each two texts share, templates apart."""
    owners = defaultdict(set)
    for number, text in enumerate(held):
        for run in runs_of(text, n):
            owners[run].add(number)
    found: dict[tuple[int, int], int] = defaultdict(int)
    for row, text in enumerate(asked):
        for run in runs_of(text, n):
            if len(owners[run]) < TEMPLATE_TEXTS:
                for owner in owners[run]:
                    found[row, owner] += 1
    return found


@pytest.mark.parametrize("runs_per_part", [16, 1 << 18])
def test_the_index_counts_the_runs_that_two_texts_share(
    runs_per_part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overlap, "RUNS_PER_PART", runs_per_part)
    monkeypatch.setattr(overlap, "ROWS_PER_BATCH", 7)
    rng = random.Random(3)
    vocabulary = [f"word{number}" for number in range(40)]
    held = [" ".join(rng.choices(vocabulary, k=rng.randrange(0, 60))) for _ in range(100)]
    held += ["so long", "so long", *(f"of each of them {word}" for word in vocabulary)]
    asked = [" ".join(rng.choices(vocabulary, k=50)) for _ in range(30)]
    asked += [*held[5:9], "so long", "of each of them word3", ""]
    index = Overlap(((str(k), text) for k, text in enumerate(held)), n=2, fuzzy=0.5)
    for runs, n in ((index._words, 2), (index._threes, 3)):
        assert runs is not None
        rows, owners, counts = (part.tolist() for part in runs.shared(hashed_words(asked)))
        assert dict(zip(zip(rows, owners, strict=True), counts, strict=True)) == shared_runs(
            held, asked, n
        )


def test_an_index_of_templates_alone_finds_nothing() -> None:
    index = Overlap(((str(k), "one two three") for k in range(3)), n=2, fuzzy=0.5)
    assert index.reasons(["two three four", "one two three"]) == [None, "is the text of 0"]


def test_hashes_that_differ_in_their_last_digits_alone_are_in_order() -> None:
    hashes = np.array([5, 3, 5, 4, 2**63 + 1, 2**63, 3], np.uint64)
    assert overlap._order_of(hashes, 0).tolist() == [1, 6, 3, 0, 2, 5, 4]
    high = hashes << np.uint64(50) >> np.uint64(2)
    assert overlap._order_of(high, 2).tolist() == np.argsort(high, kind="stable").tolist()


def test_a_text_is_normal_however_its_blanks_are_written() -> None:
    every = "".join(f"A{chr(code)}{chr(code)}b" for code in range(128))
    for text in (every, " ", "", "One  Two", "\ttwo\n", "it\x1fis\x0b\x0cSO", "what Is It"):
        assert normal(text) == " ".join(text.casefold().split())
    assert normal("What is\n１７ + 25?") == "what is 17 + 25?"
