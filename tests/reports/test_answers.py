"""The figures of a report about single answers agree with answers counted by hand."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from orcinus.core.results import ARMS, ArmScore, Comparison, Scores, TaskScores
from orcinus.core.stats import score
from orcinus.core.types import AnswerType, Attempt, Example, Judged, Sampling, Usage, Verdict
from orcinus.evaluation.scores import score_arm
from orcinus.reports.answers import confusions, list_questions, token_curves
from orcinus.reports.glossary import TERMS
from orcinus.reports.headline import in_plain_words
from orcinus.reports.pages import SHORT, dot_plot
from orcinus.reports.warnings import group_by_topic, warnings_of, warnings_with_topics

LABELS = ("billing", "bug")


def question(
    number: int,
    reference: str,
    kind: AnswerType = "choice",
    choices: tuple[str, ...] | None = LABELS,
) -> Example:
    return Example(
        id=str(number),
        task="tickets",
        prompt=f"Ticket {number}: " + "words " * 100,
        answer_type=kind,
        choices=choices,
        reference=reference,
    )


def answered(
    asked: Example, answer: str | None, tokens: int = 5, *, failed: bool = False
) -> Judged:
    right = None if answer is None else float(answer == asked.reference)
    attempt = Attempt(
        id=f"a{asked.id}",
        example_id=asked.id,
        task=asked.task,
        strategy="",
        model="m",
        messages=(),
        sampling=Sampling(),
        sample=0,
        text="",
        finish="error" if failed else "stop",
        usage=Usage(tokens_out=tokens),
    )
    verdict = Verdict(attempt_id=attempt.id, verifier="v", value=right, answer=answer, reason="")
    return Judged(attempt=attempt, verdict=verdict)


def rows(found: tuple[tuple[str, tuple[int, ...]], ...]) -> dict[str, list[int]]:
    return {label: list(counts) for label, counts in found}


def test_a_confusion_matrix_counts_each_pair_of_right_and_given_label() -> None:
    asked = [question(i, "AABB"[i]) for i in range(4)] + [question(4, "B")]
    given = [
        answered(asked[0], "A"),
        answered(asked[1], "B"),
        answered(asked[2], "B"),
        answered(asked[3], None),
        answered(asked[4], None, failed=True),
    ]
    answers = {("tickets", e.id): {"after": j} for e, j in zip(asked, given, strict=True)}
    known = {("tickets", e.id): e for e in asked}
    [found] = confusions(answers, known, ["after", "before"][:1])
    assert found.answers == ("billing", "bug", "no answer")
    assert rows(found.rows) == {"billing": [1, 1, 0], "bug": [0, 1, 1]}


def test_options_that_differ_are_told_apart_by_their_letters() -> None:
    asked = [question(0, "A"), question(1, "B", choices=("yes", "maybe"))]
    answers = {("tickets", e.id): {"after": answered(e, "C")} for e in asked}
    [found] = confusions(answers, {("tickets", e.id): e for e in asked}, ["after"])
    assert found.answers == ("A", "B", "another answer", "no answer")
    assert rows(found.rows) == {"A": [0, 0, 1, 0], "B": [0, 0, 1, 0]}


@pytest.mark.parametrize(
    ("references", "shown"), [(["Bug", "fee"] * 4, True), ([str(i) for i in range(8)], False)]
)
def test_texts_are_labels_where_few_of_them_are_different(
    references: list[str], shown: bool
) -> None:
    asked = [question(i, text, "exact", None) for i, text in enumerate(references)]
    answers = {("tickets", e.id): {"after": answered(e, "bug")} for e in asked}
    found = list(confusions(answers, {("tickets", e.id): e for e in asked}, ["after"]))
    assert [rows(one.rows) for one in found] == ([{"bug": [4, 0, 0], "fee": [4, 0, 0]}] * shown)


def test_a_curve_counts_the_right_answers_within_each_number_of_tokens() -> None:
    asked = [question(i, "A") for i in range(4)]
    given = [answered(e, "AAAB"[i], (2, 8, 4, 6)[i]) for i, e in enumerate(asked)]
    answers = {("tickets", e.id): {"after": j} for e, j in zip(asked, given, strict=True)}
    [curve] = token_curves(answers, ["before", "after"], points=10)
    assert curve.points == ((2, 0.25), (4, 0.5), (6, 0.5), (8, 0.75))
    assert curve.mean_tokens == 5
    [short] = token_curves(answers, ["after"], points=2)
    assert short.points == ((2, 0.25), (8, 0.75)), "a curve of fewer points ends at the same score"


def test_the_list_shows_what_training_changed_first_and_says_how_much_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("orcinus.reports.answers.LISTED_QUESTIONS", 2)
    asked = [question(i, "A") for i in range(3)]
    words = [("A", "A"), ("B", "A"), ("A", "B")]
    answers = {
        ("tickets", e.id): {"before": answered(e, before), "after": answered(e, after)}
        for e, (before, after) in zip(asked, words, strict=True)
    }
    [listed] = list_questions(answers, {("tickets", e.id): e for e in asked})
    assert listed.n == 3
    assert [row.example_id for row in listed.questions] == ["2", "1"]
    assert [answer.verdict for answer in listed.questions[0].answers] == ["right", "wrong"]
    assert listed.questions[0].prompt.endswith("…")


def scores_of(means: Mapping[str, float], against: Mapping[str, float]) -> Scores:
    """Scores of 100 questions an arm; ``against``: difference of ``after`` and each other arm."""

    def arm(mean: float) -> ArmScore:
        right = round(100 * mean)
        found = score(answered(question(i, "A"), "A" if i < right else "B") for i in range(100))
        return ArmScore(
            accuracy=TaskScores(by_task={}, micro=found, macro=found),
            confidence={"explicit": 5, "guessed": 5},
        )

    compared = tuple(
        Comparison(
            a="after",
            b=b,
            task=None,
            n=100,
            difference=difference,
            low=difference - 0.05,
            high=difference + 0.05,
            p_value=0.001 if abs(difference) > 0.05 else 0.5,
            repairs=0,
            regressions=0,
            p_holm=1,
        )
        for b, difference in against.items()
    )
    return Scores(arms={name: arm(mean) for name, mean in means.items()}, comparisons=compared)


@pytest.mark.parametrize(
    ("after", "prompted", "begins", "warns"),
    [
        (0.7, 0.4, "Training helped: the student answers 70.0 % of new questions right", False),
        (0.7, 0.7, "Training helped: ", True),
        (0.41, 0.4, "No clear effect of training: ", False),
        (0.1, 0.4, "Training did harm: ", False),
    ],
)
def test_the_first_sentence_says_what_interval_and_test_say(
    after: float, prompted: float, begins: str, warns: bool
) -> None:
    against = {"before": after - 0.4, "prompted": after - prompted}
    scores = scores_of({"before": 0.4, "prompted": prompted, "after": after}, against)
    sentence = in_plain_words(scores)
    assert sentence.startswith(begins)
    assert ("with the right instruction alone it answers" in sentence) is warns


STEPS: dict[str, dict[str, Any]] = {
    "evaluate": {"config": {}},
    "sample": {"summary": {"skipped": {"rows.csv": 2}}},
    "curate": {"summary": {}},
    "assign": {"summary": {"groups": 3, "unclear": 2, "unlearnable": 1}},
}


def test_warnings_are_said_once_for_all_arms_and_stand_with_their_kind() -> None:
    scores = scores_of({"before": 0.4, "after": 0.5, "teacher": 0.9}, {"before": 0.1})
    found = list(warnings_with_topics(scores, STEPS, ()))
    assert [warning for _, warning in found] == list(warnings_of(scores, STEPS, ()))
    groups = group_by_topic(found)
    assert {topic: len(warnings) for topic, warnings in groups.items()} == {
        "How answers were found and judged": 1,
        "What failed or was left out": 1,
        "How the strategies were chosen": 2,
    }
    [doubt] = groups["How answers were found and judged"]
    assert all(f"Of the {ARMS[arm]}, 50.0 %" in doubt for arm in scores.arms)


def test_every_short_name_of_an_arm_is_explained() -> None:
    assert set(SHORT.values()) <= set(TERMS)


def test_a_single_tasks_scores_are_drawn_once() -> None:
    found = score(answered(question(i, "A"), "A") for i in range(9))
    for tasks, blocks in ((["chains"], ["chains"]), (["a", "b"], ["mean of tasks", "a", "b"])):
        accuracy = TaskScores(by_task=dict.fromkeys(tasks, found), micro=found, macro=found)
        one = replace(scores_of({"after": 0.5}, {}).arms["after"], accuracy=accuracy)
        shown = str(dot_plot(Scores(arms={"after": one}, comparisons=())))
        names = ("mean of tasks", "chains", "a", "b")
        assert [name for name in names if f">{name}</text>" in shown] == blocks


@pytest.mark.parametrize(("right", "warns"), [(55, True), (70, False)])
def test_a_student_that_may_be_guessing_is_told(right: int, warns: bool) -> None:
    answers = [answered(question(i, "A"), "A" if i < right else "B") for i in range(100)]
    questions = {(one.task, one.id): one for one in (question(i, "A") for i in range(100))}
    arm = score_arm(answers, questions, has_judge=False)
    (task,) = arm.accuracy.by_task
    assert arm.guessing == {task: 1 / len(question(0, "A").choices or ())}
    found = " ".join(warnings_of(Scores(arms={"after": arm}, comparisons=()), STEPS, ()))
    said = f"not clearly better than guessing on {task} ({right}.0 %, guessing gets 50.0 %)"
    assert (said in found) == warns


@pytest.mark.parametrize(("last", "warns"), [(7.3, True), (0.4, False)])
def test_a_student_that_cannot_write_the_explanations_is_told(last: float, warns: bool) -> None:
    stages = {"lessons": {"first_loss": 9.03, "last_loss": last}}
    steps = STEPS | {"train": {"summary": {"stages": stages}}}
    found = " ".join(warnings_of(scores_of({"after": 0.4}, {}), steps, ()))
    assert ("loss of stage lessons fell from 9.0 to only 7.3 nats" in found) == warns


@pytest.mark.parametrize(
    ("after", "bare", "said"),
    [(0.0, 0.5, True), (0.4, 0.4, False), (0.7, 0.69, True), (0.7, 0.4, False)],
)
def test_the_sentence_says_where_bare_answers_do_as_well(
    after: float, bare: float, said: bool
) -> None:
    against = {"before": after - 0.4, "answer_only": after - bare}
    sentence = in_plain_words(
        scores_of({"before": 0.4, "answer_only": bare, "after": after}, against)
    )
    assert ("trained on bare answers it answers" in sentence) is said
