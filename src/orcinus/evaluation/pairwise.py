"""Pairwise judging: which of two answers to a question a judge prefers, asked in both orders.

    question, answer of after, answer of before ──judge, twice──► win, tie or loss
    all questions ──► win rate 0.61 (0.52 … 0.69), order flips 0.12, n = 100

For tasks with open answers, where right and wrong say little. A win counts only if both orders
agree. If they do not, the pair is a tie: a judge that follows the order of the answers has shown
no preference (Zheng et al. 2023, arXiv:2306.05685, section 3.4).
"""

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence

from orcinus.core import stats
from orcinus.core.draw import draw_by_group
from orcinus.core.results import WinRate
from orcinus.core.sampling import JudgingConfig
from orcinus.core.stats.paired import binomial_two_sided
from orcinus.core.types import Example, Judged, Request
from orcinus.evaluation.config import PairwiseConfig
from orcinus.runs.context import StepContext
from orcinus.verifiers.judge import (
    Pair,
    PairVerdict,
    compare,
    comparison_inquiries,
    judge_of,
    judge_request,
    tally,
)

PAIRS_AT_ONCE = 256
"""Pairs that are judged between two updates of the progress: enough to keep 64 connections busy."""
CHARACTERS_PER_TOKEN = 4
"""Characters a token in the stand-ins for unwritten answers, as ``pipeline/estimate.py`` counts."""


async def judge_pairs(
    config: PairwiseConfig,
    examples: Iterable[Example],
    outcomes: Mapping[str, Sequence[Judged]],
    context: StepContext,
) -> list[WinRate]:
    """Compare the answers of ``after`` with those of each other arm, in both orders.

    Args:
        config: The arms and the questions to compare.
        examples: The questions that were evaluated.
        outcomes: The answers by arm. Of several to a question the first counts.
        context: The step's, with the recipe's judge.

    Returns:
        For each arm compared with, the win rate over all tasks and then that of each task.

    Raises:
        ConfigError: The recipe has no judge.
        OrcinusError: As ``attempt_all``.
    """
    questions = list(draw_questions(config, examples))
    if not questions:
        context.progress.note(
            "pairwise: no task has open answers, so nothing was compared; "
            "set evaluate.pairwise.tasks: all to compare the answers of every task"
        )
        return []
    texts = {arm: _first_answers(judged) for arm, judged in outcomes.items()}
    rates = []
    for arm in config.against:
        if arm not in outcomes:
            continue
        pairs, missing = _pair_answers(questions, texts["after"], texts[arm])
        verdicts = await _judge(pairs, f"compare with {arm}", context)
        judged = list(zip(pairs, verdicts, strict=True))
        rates.append(_win_rate(arm, None, judged, missing))
        rates += [
            _win_rate(arm, task, [j for j in judged if j[0].example.task == task], missing)
            for task in sorted({example.task for example in questions})
        ]
    return rates


def pairwise_requests(
    config: PairwiseConfig,
    examples: Iterable[Example],
    arms: Container[str],
    max_tokens: int,
    context: StepContext,
) -> Iterator[Request]:
    """Yield the requests that ``judge_pairs`` sends at most, with stand-ins for the answers.

    Args:
        config: As for ``judge_pairs``.
        examples: The questions that will be evaluated.
        arms: The arms that will be evaluated.
        max_tokens: Upper bound on the tokens of an answer.
        context: The step's.
    """
    judging = context.judging or JudgingConfig()
    questions = list(draw_questions(config, examples))
    unwritten = "x" * (CHARACTERS_PER_TOKEN * max_tokens)
    instructions = {str(kind): text for kind, text in judging.instructions.items()}
    sampling = judging.sampling.sampling(0, context.seed)
    for _ in (arm for arm in config.against if arm in arms):
        pairs = (Pair(example=e, first=unwritten, second=unwritten) for e in questions)
        for example, inquiry in comparison_inquiries(pairs, instructions):
            yield judge_request(example, inquiry, sampling)


def draw_questions(config: PairwiseConfig, examples: Iterable[Example]) -> Iterator[Example]:
    """Yield the questions to compare: of each task those with the smallest hash."""
    wanted = (example for example in examples if config.tasks == "all" or has_open_answer(example))
    by_task = draw_by_group(wanted, "pairwise", lambda example: example.task, config.per_task)
    for of_task in by_task.values():
        yield from of_task


def has_open_answer(example: Example) -> bool:
    """Return True where an answer is free text, or only a judge can say whether it is right."""
    return example.answer_type == "free" or example.meta.get("verifier") in ("judge", "grounded")


def _first_answers(judged: Iterable[Judged]) -> dict[tuple[str, str], str]:
    """Return the first answer to each question; questions whose call failed are left out."""
    attempts = (item.attempt for item in judged)
    return {
        (attempt.task, attempt.example_id): attempt.text
        for attempt in attempts
        if attempt.sample == 0 and attempt.finish != "error"
    }


def _pair_answers(
    questions: Sequence[Example],
    first: Mapping[tuple[str, str], str],
    second: Mapping[tuple[str, str], str],
) -> tuple[list[Pair], list[Example]]:
    """Pair the answers of two arms; return the pairs, and the questions without two answers."""
    pairs, missing = [], []
    for example in questions:
        key = (example.task, example.id)
        if key in first and key in second:
            pairs.append(Pair(example=example, first=first[key], second=second[key]))
        else:
            missing.append(example)
    return pairs, missing


async def _judge(pairs: Sequence[Pair], what: str, context: StepContext) -> list[PairVerdict]:
    """Compare each pair. Two identical answers are a tie, without a call of the judge."""
    judge = judge_of(context.judging or JudgingConfig(), context, step="evaluate")
    verdicts = [
        PairVerdict(value=0.5, consistent=True, orders=(0.5, 0.5), reason="") for _ in pairs
    ]
    different = [i for i, pair in enumerate(pairs) if pair.first != pair.second]
    context.progress.start(what, len(different))
    for start in range(0, len(different), PAIRS_AT_ONCE):
        places = different[start : start + PAIRS_AT_ONCE]
        found = await compare([pairs[i] for i in places], judge)
        for i, verdict in zip(places, found, strict=True):
            verdicts[i] = verdict
        context.progress.advance(len(places))
    return verdicts


def _win_rate(
    arm: str,
    task: str | None,
    judged: Sequence[tuple[Pair, PairVerdict]],
    missing: Sequence[Example],
) -> WinRate:
    """Count verdicts; ``missing`` are the questions of all tasks without two answers."""
    counts = tally(verdict for _, verdict in judged)
    n = counts.wins + counts.ties + counts.losses
    identical = sum(pair.first == pair.second for pair, _ in judged)
    won = counts.wins + counts.ties / 2
    low, high = stats.wilson(won, n) if n else (None, None)
    return WinRate(
        a="after",
        b=arm,
        task=task,
        n=n,
        wins=counts.wins,
        ties=counts.ties,
        losses=counts.losses,
        identical=identical,
        flips=counts.inconsistent,
        first_preferred=counts.for_first_place,
        flip_rate=counts.inconsistent / (n - identical) if n > identical else None,
        unreadable=counts.unreadable,
        missing=sum(task is None or example.task == task for example in missing),
        win_rate=won / n if n else None,
        low=low,
        high=high,
        p_value=binomial_two_sided(counts.wins, counts.losses),
    )
