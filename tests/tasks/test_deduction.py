"""Questions about what follows: a prover decides them, and every explanation is its proof."""

import re
from itertools import product
from random import Random

import pytest
from pydantic import ValidationError

from orcinus.strategies.library import built_in
from orcinus.tasks.generators.deduction import (
    LANGUAGES,
    Language,
    deduction,
    draft_question,
    draw_question,
)
from orcinus.tasks.generators.procedural import ProceduralConfig, draw, explain
from orcinus.tasks.generators.prover import Rule, Undecided, is_satisfiable, prove, solve
from orcinus.verifiers.rules import judge

A, B, C, D, E = 1, 2, 3, 4, 5
CHAIN = [Rule((), (A,)), Rule((A,), (B,)), Rule((B,), (C,)), Rule((D,), (E,))]


def test_the_candidate_at_the_end_of_a_chain_follows_and_the_other_does_not() -> None:
    found = solve(CHAIN, [C, E])
    assert (found.right, found.proof.depth) == (0, 2)
    assert [line.literal for line in found.proof.lines] == [A, B, C]


@pytest.mark.parametrize(
    ("more", "candidates", "why"),
    [
        (Rule((), (-C,)), [C, E], "contradiction"),
        (Rule((), (D,)), [C, E], "several follow"),
        (Rule((), (A,)), [D, E], "none follows"),
    ],
)
def test_a_question_without_exactly_one_answer_is_refused(
    more: Rule, candidates: list[int], why: str
) -> None:
    with pytest.raises(Undecided, match=why):
        solve([*CHAIN, more], candidates)


@pytest.mark.parametrize(
    ("rules", "goal", "depth"),
    [
        ([Rule((), (A,)), Rule((), (B,)), Rule((A, B), (C,))], C, 1),
        ([Rule((), (-B,)), Rule((A,), (B,))], -A, 1),
        # a, so b or c; each gives d: one round to fire the rule, one in the cases
        ([Rule((), (A,)), Rule((A,), (B, C)), Rule((B,), (D,)), Rule((C,), (D,))], D, 2),
        # the disjunction is given: one round
        ([Rule((), (B, C)), Rule((B,), (D,)), Rule((C,), (D,))], D, 1),
        # one case is impossible
        ([Rule((), (A,)), Rule((), (-B,)), Rule((A,), (B, C))], C, 1),
        # a short way and a long way: the short one counts
        ([Rule((), (A,)), Rule((A,), (B,)), Rule((B,), (C,)), Rule((A,), (C,))], C, 1),
    ],
)
def test_the_depth_is_that_of_the_shortest_proof(rules: list[Rule], goal: int, depth: int) -> None:
    proof = prove(rules, goal)
    assert proof is not None
    assert proof.depth == depth


def test_satisfiability_agrees_with_a_truth_table() -> None:
    random = Random(0)
    answers = set()
    for _ in range(200):
        clauses = [
            frozenset(random.choice((1, -1)) * random.randint(1, 6) for _ in range(3))
            for _ in range(random.randint(10, 40))
        ]
        by_table = any(
            all(any((literal > 0) == row[abs(literal) - 1] for literal in c) for c in clauses)
            for row in product((True, False), repeat=6)
        )
        assert is_satisfiable(clauses) is by_table
        answers.add(by_table)
    assert answers == {True, False}


def test_what_is_proved_also_follows_by_satisfiability() -> None:
    random = Random(1)
    proved = 0
    for _ in range(50):
        literals = [random.choice((1, -1)) * random.randint(1, 6) for _ in range(60)]
        rules = [
            Rule(tuple(literals[4 * i : 4 * i + i % 3]), tuple(literals[4 * i + 2 : 4 * i + 4]))
            for i in range(10)
        ]
        rules.append(Rule((), (literals[-1],)))
        clauses = [rule.clause for rule in rules]
        if not is_satisfiable(clauses):
            continue
        for goal in range(1, 7):
            if prove(rules, goal) is not None:
                proved += 1
                assert not is_satisfiable([*clauses, frozenset((-goal,))])
    assert proved > 20


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_explanation_of_every_strategy_ends_in_the_right_option(language: Language) -> None:
    config = ProceduralConfig(generator="deduction", language=language, count=12, size=(1, 5))
    for example in draw(config):
        assert example.choices is not None
        assert 1 <= example.meta["depth"] == example.meta["difficulty"] <= 5
        for strategy in built_in():
            text = explain(example.prompt, strategy)
            found = judge(text, "choice", example.choices, example.reference)
            assert found.value == 1.0, (example.prompt, text)


def test_a_proof_is_told_forwards_and_backwards() -> None:
    prompt = (
        "Ada is kind. If Ada is kind, then Ada is wise or Ada is calm. If Ada is wise, then Ada is "
        "brave. If Ada is calm, then Ada is brave. If Ada is old, then Ada is tall.\n"
        "Which statement follows?\nOptions:\n(A) Ada is tall\n(B) Ada is brave"
    )
    assert explain(prompt, "step_by_step") == (
        "Ada is kind, so Ada is wise or Ada is calm; if Ada is wise, then Ada is brave; if Ada is "
        "calm, then Ada is brave; so Ada is brave. The answer is B."
    )
    assert explain(prompt, "decompose") == (
        "(A) Ada is tall, needs Ada is old, nothing gives it; (B) Ada is brave, needs Ada is wise "
        "or Ada is calm, needs Ada is kind, given. The answer is B."
    )


def test_everyone_means_the_persons_who_are_here() -> None:
    prompt = (
        "Only Ada and Ben are here. Everyone who is kind is wise. Ada is kind. Ben is wise. "
        "If everyone is wise, then Ada is calm. If everyone is kind, then Ben is tall.\n"
        "Which statement follows?\nOptions:\n(A) Ada is calm\n(B) Ben is tall"
    )
    assert explain(prompt, "step_by_step") == (
        "Ada is kind, so Ada is wise; Ada is wise and Ben is wise, so Ada is calm. The answer is A."
    )


@pytest.mark.slow
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_prover_agrees_with_the_construction(language: Language) -> None:
    agrees_with_the_construction(language, 10_000)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_prover_agrees_with_the_construction_on_a_few(language: Language) -> None:
    agrees_with_the_construction(language, 40)


def agrees_with_the_construction(language: Language, count: int) -> None:
    """Draw questions of depth 1 to 8: the option that was not broken is the one that follows."""
    random, refused, places = Random(language), 0, [0] * 4
    for _ in range(count):
        depth = random.randint(1, 8)
        text = draft_question(random, depth, language=language, branches=4)
        made = deduction(language, 4)
        words = text.split()
        try:
            letter = made.answer(words)
        except Undecided:
            refused += 1
            continue
        assert made.facts is not None
        assert made.facts(words)["depth"] == depth
        places["ABCD".index(letter)] += 1
    print(f"{language}: {refused} of {count} refused; right options {places}")
    assert refused <= count / 100
    # chi-squared with 3 degrees of freedom: beyond 16.27 by chance once in a thousand
    expected = sum(places) / 4
    assert sum((n - expected) ** 2 / expected for n in places) < 16.27


def test_a_larger_language_draws_its_own_words() -> None:
    texts = {
        language: " ".join(
            draw_question(Random(7), depth, language=language, branches=4) for depth in (4, 5, 6)
        )
        for language in LANGUAGES
    }
    words = {"and": " and ", "not": " is not ", "or": " or ", "all": "veryone"}
    for place, language in enumerate(LANGUAGES):
        for later in LANGUAGES[max(place, 0) + 1 :]:
            assert words[later] not in texts[language]
        if language in words:
            assert words[language] in texts[language]


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"generator": "sums", "language": "and"}, "settings of the generator deduction"),
        ({"generator": "sums", "size": (1, 3)}, "no range within 2"),
        ({"generator": "deduction", "size": (1, 40)}, "depth 16 at most"),
        ({"generator": "parity", "dress": ["shop"]}, "no dress; those that have one: sums, larg"),
    ],
)
def test_settings_that_do_not_fit_are_one_line(settings: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        ProceduralConfig.model_validate(settings)


def test_recipes_without_the_new_settings_keep_their_identity() -> None:
    assert set(ProceduralConfig(generator="sums").identity()) == {
        "generator",
        "name",
        "count",
        "size",
        "seed",
        "version",
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_option_is_ruled_out_by_how_often_it_is_a_conclusion(language: Language) -> None:
    for seed in range(10):
        text = draw_question(Random(seed), 1 + seed % 3, language=language, branches=4)
        known, _, listed = text.partition("\nOptions:\n")
        options = [line.partition(") ")[2] for line in listed.splitlines()]
        heads = re.findall(r", then ([^.]+)\.", known)
        of_all = re.findall(r"Everyone who is (?:not )?\w+ is ((?:not )?\w+)\.", known)
        counts = {
            sum(option in head.split(" or ") for head in heads)
            + sum(option.endswith(f" is {head}") for head in of_all)
            for option in options
        }
        assert len(counts) == 1, text
