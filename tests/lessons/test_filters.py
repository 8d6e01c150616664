"""Overlap with held-out questions, and the reasons to drop a trace."""

import pickle
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from tests.conftest import read_jsonl

from orcinus.core import registry
from orcinus.core.errors import ConfigError
from orcinus.core.protocols import Filter
from orcinus.core.types import Attempt, Example, Sampling, Usage, Verdict
from orcinus.lessons import filters
from orcinus.lessons.checks import curate_rules
from orcinus.lessons.config import CurateConfig
from orcinus.lessons.language import languages
from orcinus.lessons.personal_data import personal_data
from orcinus.strategies.library import built_in
from orcinus.tasks.duplicates.near import NearDuplicates, originals_of
from orcinus.tasks.duplicates.ngrams import ngrams, normal
from orcinus.tasks.duplicates.overlap import Overlap
from orcinus.verifiers.answers.failures import LOOP_SHARE, LOOP_WORDS, loop_in

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
    template = (
        "If you follow these instructions exactly as they are written do you return to the start"
    )
    held_out = [
        f"{template}? Take {i} steps and then {i + 1} steps to the left of the old oak tree"
        for i in range(5)
    ]
    overlap = Overlap(_named(held_out), n=8)
    items = [
        held_out[2].upper(),
        f"{template}? Take none.",
        "An entirely different question about nothing.",
    ]
    assert overlap.reasons(items) == ["is the text of held_out/2", None, None]


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
def test_each_filter_says_why(change: dict[str, str], rule: Filter, says: str) -> None:
    reason = rule(EXAMPLE, replace(ATTEMPT, **change), RIGHT)  # type: ignore[arg-type]
    assert reason is not None
    assert says in reason


def test_a_good_trace_passes_every_filter() -> None:
    rules: list[Filter] = [
        filters.errors,
        filters.empty,
        filters.refused,
        filters.truncated,
        filters.loops,
        filters.wrong,
    ]
    rules += [filters.unjudged, filters.too_long(9), filters.leaks(dict(built_in()))]
    assert [rule(EXAMPLE, ATTEMPT, RIGHT) for rule in rules] == [None] * len(rules)


def test_quoting_the_strategys_message_is_a_leak() -> None:
    text = (
        "I was told: Work through the problem in small numbered steps, each following. "
        "The answer is 4."
    )
    reason = filters.leaks(dict(built_in()))(EXAMPLE, replace(ATTEMPT, text=text), RIGHT)
    assert reason is not None
    assert "repeats the strategy's words" in reason


@pytest.mark.usefixtures("own_extensions")
def test_another_packages_filter_is_called_by_name() -> None:
    @registry.register("filter", "no_fours")
    def no_fours(_: Example, attempt: Attempt, __: Verdict) -> str | None:
        return "a four" if "4" in attempt.text else None

    rules = curate_rules(CurateConfig(filters=("no_fours",)), ())
    assert rules["no_fours"](EXAMPLE, ATTEMPT, RIGHT) == "a four"
    with pytest.raises(ValidationError, match="no filter named 'no_fives'"):
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
    for at in range(0, len(texts), 256):  # Batches must not matter.
        near.add(texts[at : at + 256])
    found = near.originals()
    cluster = SendsAll()
    assert (near.originals(cluster) == found).all()
    assert cluster.shapes == [(1200, 8)] * 16  # a band each, and no signatures beside them
    assert (found[:600] == np.arange(600)).all()
    matched = found[600:] == np.arange(600)
    assert ((found[600:] == np.arange(600, 1200)) | matched).all()
    assert matched[similarity >= 0.8].mean() > 0.95
    assert matched[similarity < 0.55].mean() == 0.0


class SendsAll:
    """An executor that sends shards and results as bytes, as a cluster does."""

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def map(self, fn: Any, shards: Any, *, threaded: bool = False, processes: bool = False) -> Any:
        for shard in shards:
            self.shapes.append(shard[0].shape)
            yield pickle.loads(pickle.dumps(fn))(pickle.loads(pickle.dumps(shard)))


def test_texts_without_words_and_short_ones_repeat_only_their_equals() -> None:
    texts = ["", "?!", "yes", "Yes.", "no", "what is 17 + 25", "what is 17 + 26"]
    assert originals_of(texts, similarity=0.5).tolist() == [0, 1, 2, 2, 4, 5, 6]
    assert originals_of([], similarity=0.5).tolist() == []


def test_a_run_that_one_item_repeats_is_its_own_and_no_template() -> None:
    overlap = Overlap(_named(["one two three " * 5, "so it is and so it was"]), n=3)
    assert overlap.reasons(["count: one two three"]) == ["shares 1 run of 3 words with held_out/0"]


def test_the_overlap_names_the_item_that_shares_most() -> None:
    words = [f"word{number}" for number in range(200)]
    overlap = Overlap(_named([" ".join(words[:60]), " ".join(words[60:])]), n=8)
    text = " ".join([*words[:10], "and", *words[80:100]])
    assert overlap.reasons([text]) == ["shares 13 runs of 8 words with held_out/1"]


def test_short_runs_find_copies_with_changed_words_and_no_other_questions() -> None:
    random = np.random.default_rng(0)
    words = np.array([f"w{number}" for number in range(3000)])
    held_out = [list(words[random.integers(0, 3000, 50)]) for _ in range(200)]
    copies = []
    for text in held_out:
        copy = list(text)
        for place in range(6, 50, 12):  # No run of thirteen words is left.
            copy[place] = "other"
        copies.append(" ".join(copy))
    others = [" ".join(words[random.integers(0, 3000, 50)]) for _ in range(200)]
    named = list(_named([" ".join(text) for text in held_out]))
    long_runs, short_runs = Overlap(named, n=13), Overlap(named, n=13, fuzzy=0.6)
    assert not any(long_runs.reasons(copies))
    found = short_runs.reasons(copies + others)
    assert all(
        why is not None and why.endswith(f" of held_out/{i}") for i, why in enumerate(found[:200])
    )
    assert not any(found[200:])


@pytest.mark.parametrize("share", [0.05, 0.1])
def test_changed_copies_of_real_questions_are_found(shared_data: Path, share: float) -> None:
    random = Random(0)
    prompts = [
        row["prompt"]
        for row in read_jsonl(shared_data / "tasks" / "svamp.jsonl.gz")
        if len(row["prompt"].split()) >= 20
    ]
    prompts = list(dict.fromkeys(prompts))[:200]
    vocabulary = [word for prompt in prompts for word in prompt.split()]
    changed = [
        " ".join(
            random.choice(vocabulary) if random.random() < share else word
            for word in prompt.split()
        )
        for prompt in prompts
    ]
    found = Overlap(_named(prompts), n=13, fuzzy=0.6).reasons(changed)
    assert sum(why is not None for why in found) > 0.8 * len(prompts)


@pytest.mark.parametrize(
    ("text", "loops"),
    [
        ("We begin. " + "then we add the next number and look again " * 12, True),
        ("we go on " * 20, True),
        ("ababab" * 60, True),
        (
            "\n".join(
                f"Step {i}: we add {i * 7} to {i * i} and get {i * 7 + i * i}." for i in range(12)
            ),
            False,
        ),
        (
            "- id (primary key)\n"
            + "\n".join(f"- field {i}\n- id (primary key)" for i in range(7))
            + "\n- a\n- b\n- c",
            False,
        ),
    ],
)
def test_loops_inside_a_line_are_found_and_lists_are_not(text: str, loops: bool) -> None:
    assert (filters.loops(EXAMPLE, replace(ATTEMPT, text=text), RIGHT) is not None) == loops


@pytest.mark.parametrize(
    ("text", "declined"),
    [
        ("Unfortunately, I cannot help with that.", True),
        ("I apologize, but I can't do this.", True),
        ("I'm sorry to hear that. Send it back within 30 days.", False),
        ("I cannot emphasize enough how much sleep matters.", False),
        ("The train cannot arrive before noon, so the answer is 4.", False),
    ],
)
def test_only_declining_is_a_refusal(text: str, declined: bool) -> None:
    assert (filters.refused(EXAMPLE, replace(ATTEMPT, text=text), RIGHT) is not None) == declined


def test_speaking_of_itself_as_a_model_is_boilerplate_unless_the_question_is_about_it() -> None:
    says = replace(
        ATTEMPT, text="As an AI language model, I have no opinions, but the answer is 4."
    )
    assert "'As an AI language model'" in str(filters.boilerplate(EXAMPLE, says, RIGHT))
    asked = replace(EXAMPLE, prompt="What would a language model say?")
    assert filters.boilerplate(asked, says, RIGHT) is None
    assert (
        filters.boilerplate(
            EXAMPLE, replace(ATTEMPT, text="Fields such as AI, and law, grow."), RIGHT
        )
        is None
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Mail jane.roe@mail.net or jim@mail.net.", "personal data: 2 e-mail addresses"),
        ("Call +49 30 901820 or (212) 664-7665.", "personal data: 2 phone numbers"),
        ("Pay with 4539 1488 0343 6467.", "personal data: 1 payment card"),
        ("To DE89 3704 0044 0532 0130 00 please.", "personal data: 1 IBAN"),
        ("It came from 8.8.8.8.", "personal data: 1 IP address"),
        ("Mail you@gmail.com or info@example.com, call 212-555-0134, ping 192.168.0.1.", None),
        ("Pay with 4539 1488 0343 6468, then DE89 3704 0044 0532 0130 01.", None),
        (
            "3.14159265358979 times 1000000007 is 3141592675.57; version 1.2.3.4 of 2023-11-18.",
            None,
        ),
    ],
)
def test_personal_data_is_counted_and_never_repeated(text: str, found: str | None) -> None:
    assert personal_data(text) == found


def test_a_text_in_another_language_is_dropped_unless_it_is_too_short() -> None:
    pytest.importorskip("py3langid")
    rule = languages(("en",))
    german = (
        "Zuerst zählen wir die Äpfel in jedem Korb zusammen, dann ziehen wir die verkauften wieder "
        "ab. Die Antwort ist 4."
    )
    english = (
        "First we add up the apples in each of the baskets, and then we take away those that were "
        "sold. The answer is 4."
    )
    assert [
        rule(EXAMPLE, replace(ATTEMPT, text=text), RIGHT)
        for text in (german, english, "Antwort: vier")
    ] == [
        "is in 'de', not in en",
        None,
        None,
    ]
    with pytest.raises(ConfigError, match="'xx' is not known"):
        languages(("xx",))


def test_a_stored_answer_must_contain_the_label_unless_the_rules_judged_it() -> None:
    example = replace(EXAMPLE, answer_type="free", reference="New York")
    unjudged = replace(RIGHT, value=None)
    answers = ("It was in new  york, of course.", "It was in York.", "It was in New Yorkshire.")
    found = [
        filters.label_agreement(example, replace(ATTEMPT, text=text), unjudged) for text in answers
    ]
    assert found == [None, *["the label 'New York' is not in the answer"] * 2]
    assert filters.label_agreement(example, replace(ATTEMPT, text="York"), RIGHT) is None


def shouting(text: str) -> float:
    """Score toxicity, as a user's function might."""
    return sum(map(str.isupper, text)) / max(1, len(text))


def no_fives(_: Example, attempt: Attempt, __: Verdict) -> str | None:
    """A filter, as a user would bring one."""
    return "a five" if "5" in attempt.text else None


def test_a_users_functions_score_and_filter() -> None:
    config = CurateConfig.model_validate(
        {
            "toxicity": {"function": "tests.lessons.test_filters:shouting"},
            "filters": ["tests.lessons.test_filters:no_fives"],
            "min_words": 2,
        }
    )
    rules = curate_rules(config, ())
    dropped = {
        text: [
            name
            for name, rule in rules.items()
            if rule(EXAMPLE, replace(ATTEMPT, text=text), RIGHT)
        ]
        for text in ("SHUT UP", "it is 5", "four", "it is 4")
    }
    assert dropped == {
        "SHUT UP": ["toxic"],
        "it is 5": ["tests.lessons.test_filters:no_fives"],
        "four": ["length"],
        "it is 4": [],
    }
    with pytest.raises(ValidationError, match=r"no function 'tests.lessons.test_filters:nobody'"):
        CurateConfig(filters=("tests.lessons.test_filters:nobody",))


def test_contradictory_bounds_are_an_error() -> None:
    with pytest.raises(ValidationError, match="nothing would be kept"):
        CurateConfig(min_words=10, max_words=5)


def _named(texts: Sequence[str]) -> Iterator[tuple[str, str]]:
    return ((f"held_out/{i}", text) for i, text in enumerate(texts))


def _jaccard(a: list[str], b: list[str]) -> float:
    first, second = ({tuple(text[i : i + 5]) for i in range(len(text) - 4)} for text in (a, b))
    return len(first & second) / len(first | second)


def test_few_words_in_many_pairs_are_no_loop_and_the_shortcut_never_hides_one() -> None:
    rng = np.random.default_rng(0)
    found = Counter[bool]()
    for _ in range(300):
        piece = [f"w{n}" for n in rng.integers(0, 12, rng.integers(1, 60))]
        words = (piece * 40)[: rng.integers(20, 120)]
        runs = [tuple(words[k : k + LOOP_WORDS]) for k in range(len(words) - LOOP_WORDS + 1)]
        is_loop = (
            len(words) >= 4 * LOOP_WORDS
            and 2 * len(set(words)) <= len(words)
            and 1 - len(set(runs)) / len(runs) >= LOOP_SHARE
        )
        found[is_loop] += 1
        assert (loop_in(" ".join(words)) is not None) == is_loop
    assert min(found.values()) > 50


def test_a_copy_is_found_whatever_its_case_and_blanks() -> None:
    overlap = Overlap(_named(["What is 1?", "Größer als 7 ist 8"]), n=None)
    copies = ["  what IS\n1? ", "GRÖSSER als 7 ist 8", "Größer  als ７ ist 8", "What is 1", "what"]
    assert [why is not None for why in overlap.reasons(copies)] == [True, True, True, False, False]
