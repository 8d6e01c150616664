"""Deciding among several answers, and dividing the width of a tree search."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from orcinus.core.stats import DECIDERS, Candidate, balanced

REWARDS = st.floats(0, 1)
CANDIDATES = st.lists(
    st.builds(Candidate, answer=st.sampled_from(["a", "b", "c", None]), reward=REWARDS),
    min_size=1,
    max_size=12,
)


def of(*pairs: tuple[str | None, float]) -> list[Candidate]:
    return [Candidate(answer=answer, reward=reward) for answer, reward in pairs]


def test_each_decider_chooses_as_its_name_says() -> None:
    candidates = of(("12", 0.2), ("15", 0.9), ("12", 0.3), ("9", 0.1))
    assert {name: candidates[decide(candidates)].answer for name, decide in DECIDERS.items()} == {
        "majority": "12",
        "weighted": "15",
        "best_of_n": "15",
    }
    assert DECIDERS["weighted"](of(("12", 0.5), ("15", 0.9), ("12", 0.5))) == 0


def test_a_candidate_without_an_answer_has_no_vote() -> None:
    candidates = of((None, 1.0), (None, 1.0), ("7", 0.1))
    assert {decide(candidates) for decide in DECIDERS.values()} == {2}


def test_with_rewards_of_zero_votes_decide() -> None:
    assert DECIDERS["weighted"](of(("a", 0.0), ("b", 0.0), ("b", 0.0))) == 1


@given(CANDIDATES)
def test_equal_rewards_make_weighted_the_majority(candidates: list[Candidate]) -> None:
    equal = [Candidate(answer=item.answer, reward=0.5) for item in candidates]
    assert DECIDERS["weighted"](equal) == DECIDERS["majority"](candidates)


@given(CANDIDATES)
def test_the_majority_has_no_fewer_votes_than_any_answer(candidates: list[Candidate]) -> None:
    votes = Counter(item.answer for item in candidates if item.answer is not None)
    taken = candidates[DECIDERS["majority"](candidates)].answer
    assert votes[taken or ""] == max(votes.values(), default=0)


@given(st.lists(REWARDS, min_size=1, max_size=40), st.integers(0, 64), st.floats(0.001, 10))
def test_all_of_the_width_is_distributed_and_a_better_node_gets_no_less(
    rewards: list[float], width: int, temperature: float
) -> None:
    counts = balanced(rewards, width, temperature)
    assert sum(counts) == width
    assert min(counts) >= 0
    ranked = [
        count for _, count in sorted(zip(rewards, counts, strict=True), key=lambda pair: -pair[0])
    ]
    top = [c for r, c in zip(rewards, counts, strict=True) if r == max(rewards)]
    assert max(ranked) in top


def test_width_is_divided_by_the_softmax_of_the_rewards() -> None:
    # e^0 : e^-1.5 : e^-3.5 = 0.80 : 0.18 : 0.02 of 16, from the best down and rounded up
    assert balanced([0.2, 0.9, 0.6], 16, 0.2) == [0, 13, 3]
    assert balanced([0.5, 0.5, 0.5, 0.5], 8, 0.2) == [2, 2, 2, 2]
    assert balanced([1.0, 0.0], 8, 0.01) == [8, 0]
    assert balanced([], 8, 0.2) == []
