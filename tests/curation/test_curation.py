"""Overlap and the reasons to drop a trace."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from orcinus import registry
from orcinus.curation import filters
from orcinus.curation.near import NearDuplicates, originals_of
from orcinus.curation.overlap import Overlap
from orcinus.curation.text import ngrams, normal
from orcinus.steps.curate import CurateConfig, curate_rules
from orcinus.strategies import built_in
from orcinus.types import Attempt, Example, Sampling, Usage, Verdict

EXAMPLE = Example(id="1", task="t", prompt="What?", answer_type="number", reference="4")
ATTEMPT = Attempt(
    id="a",
    example_id="1",
    task="t",
    strategy="step_by_step",
    model="m",
    messages=(),
    sampling=Sampling(),
    sample=0,
    text="2 + 2 = 4. The answer is 4.",
    finish="stop",
    usage=Usage(tokens_out=9),
)
RIGHT = Verdict(attempt_id="a", verifier="number@1", value=1.0, answer="4", reason="marker")


def test_normal_form_unifies_case_width_and_blanks() -> None:
    assert normal("  What is\t１７?") == normal("what IS 17?")


def test_equal_runs_of_words_have_equal_hashes_wherever_they_stand() -> None:
    found = ngrams(["the cat sat on the mat", "yes: The cat SAT, on", "dog"], 3)
    assert set(found.of(0).tolist()) & set(found.of(1).tolist())
    assert len(found.of(2)) == 1


def test_overlap_finds_copies_and_long_quotations_and_not_templates() -> None:
    template = "If you follow these instructions exactly as they are written do you return to the start"
    held_out = [f"{template}? Take {i} steps and then {i + 1} steps to the left of the old oak tree" for i in range(5)]
    overlap = Overlap(held_out, n=8)
    items = [held_out[2].upper(), f"{template}? Take none.", "An entirely different question about nothing."]
    assert [hit for _, hit in overlap.mark(items, str)] == [True, False, False]


@pytest.mark.parametrize(
    ("change", "rule", "says"),
    [
        ({"finish": "error", "error": "timeout: x"}, filters.errors, "timeout"),
        ({"text": " "}, filters.empty, "nothing"),
        ({"text": "I'm sorry, but I can't help."}, filters.refused, "declined"),
        ({"finish": "length"}, filters.truncated, "cut off at 9"),
        ({"text": "the same line\n" * 7}, filters.loops, "7 times"),
        ({}, filters.too_long(8), "9 tokens"),
    ],
)
def test_each_filter_says_why(change: dict[str, str], rule: filters.Rule, says: str) -> None:
    reason = rule(EXAMPLE, replace(ATTEMPT, **change), RIGHT)  # type: ignore[arg-type]
    assert reason is not None
    assert says in reason


def test_a_good_trace_passes_every_filter() -> None:
    rules: list[filters.Rule] = [
        filters.errors,
        filters.empty,
        filters.refused,
        filters.truncated,
        filters.loops,
        filters.wrong,
    ]
    rules += [filters.unjudged, filters.too_long(9), filters.leaks(dict(built_in()))]
    assert [rule(EXAMPLE, ATTEMPT, RIGHT) for rule in rules] == [None] * len(rules)


def test_repeating_the_strategys_words_is_a_leak() -> None:
    text = "I was told: Work through the problem in small numbered steps, each following. The answer is 4."
    reason = filters.leaks(dict(built_in()))(EXAMPLE, replace(ATTEMPT, text=text), RIGHT)
    assert reason is not None
    assert "repeats the strategy's words" in reason


def test_another_packages_filter_is_called_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_fours(_: Example, attempt: Attempt, __: Verdict) -> str | None:
        return "a four" if "4" in attempt.text else None

    monkeypatch.setitem(registry.filters._factories, "no_fours", lambda: no_fours)
    rules = curate_rules(CurateConfig(filters=("no_fours",)), ())
    assert rules["no_fours"](EXAMPLE, ATTEMPT, RIGHT) == "a four"
    with pytest.raises(ValidationError, match="no filters named 'no_fives'"):
        CurateConfig(filters=("no_fives",))


def test_estimated_similarity_finds_near_copies_and_nothing_else() -> None:
    random = np.random.default_rng(0)
    words = np.array([f"w{number}" for number in range(5000)])
    originals = [list(words[random.integers(0, 5000, 100)]) for _ in range(600)]
    copies = []
    for original in originals:
        copy = list(original)
        for place in random.integers(0, 100, random.integers(1, 12)):
            copy[place] = "changed"
        copies.append(copy)
    similarity = np.array([_jaccard(a, b) for a, b in zip(originals, copies, strict=True)])
    near = NearDuplicates(similarity=0.8)
    texts = [" ".join(text) for text in (*originals, *copies)]
    for at in range(0, len(texts), 256):  # batches must not matter
        near.add(texts[at : at + 256])
    found = near.originals()
    assert (found[:600] == np.arange(600)).all()
    matched = found[600:] == np.arange(600)
    assert ((found[600:] == np.arange(600, 1200)) | matched).all()
    assert matched[similarity >= 0.8].mean() > 0.95
    assert matched[similarity < 0.55].mean() == 0.0


def test_texts_without_words_and_short_ones_repeat_only_their_equals() -> None:
    texts = ["", "?!", "yes", "Yes.", "no", "what is 17 + 25", "what is 17 + 26"]
    assert originals_of(texts, similarity=0.5).tolist() == [0, 1, 2, 2, 4, 5, 6]
    assert originals_of([], similarity=0.5).tolist() == []


def _jaccard(a: list[str], b: list[str]) -> float:
    first, second = ({tuple(text[i : i + 5]) for i in range(len(text) - 4)} for text in (a, b))
    return len(first & second) / len(first | second)
