"""Compare two ways of writing skills at equal calls, in a world made by a program.

    python -m benchmarks.skill_growth [--quick] [SEEDS]

A question needs one to three of eight procedures, of which its group knows four. The student does
what its instruction names, is confused by more than four procedures, and slips on 5 %. The teacher
is a program: of each wrong answer that it sees it names a missing procedure in 40 % of the cases,
in 90 % where the verifier's reason says it, and otherwise any one. ``revise`` writes a draft and
revises it; ``front`` grows candidates. The gain is measured on 400 questions that no step has seen.
"""

import argparse
import asyncio
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from orcinus.core import registry
from orcinus.core.fingerprint import stable_fraction
from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import (
    Assignment,
    Attempt,
    Evidence,
    Example,
    Judged,
    Messages,
    Sampling,
    Score,
    Strategy,
    Verdict,
)
from orcinus.models.function import FunctionModel
from orcinus.runs import tables
from orcinus.runs.context import Runtime, Silent, StepContext
from orcinus.runs.ledger import Ledger
from orcinus.strategies.config import SkillsConfig
from orcinus.strategies.skills import read_skills, skills

PROCEDURES = ("carry", "sign", "units", "order", "round", "negate", "check", "split")
GROUPS = 12
PROBED, POOL, UNSEEN = 30, 200, 400
OLD = Strategy(name="direct", system="Answer at once.")


def needed(question: str) -> set[str]:
    """Return the procedures that a question needs: one to three of its group's four."""
    seed, group = question.split()[:2]
    mine = sorted(PROCEDURES, key=lambda p: stable_fraction("group", seed, group, p))[:4]
    count = 1 + int(3 * stable_fraction("count", question))
    return set(sorted(mine, key=lambda p: stable_fraction("need", question, p))[:count])


def named(text: str) -> list[str]:
    """Return the procedures that a text names, in its order."""
    return list(dict.fromkeys(re.findall("|".join(PROCEDURES), text)))


def is_right(system: str, question: str) -> bool:
    """Return whether the student is right under an instruction."""
    known = named(system)
    if needed(question) <= set(known) and len(known) <= 4:
        return stable_fraction("slip", system, question) >= 0.05
    return stable_fraction("luck", question) < 0.3


def student(messages: Messages, sampling: Sampling) -> str:
    """Answer under the system message."""
    return "right" if is_right(messages[0].content, messages[-1].content) else "wrong"


def teacher(messages: Messages, sampling: Sampling) -> str:
    """Write an instruction from what the prompt shows."""
    prompt = messages[-1].content
    instructions = re.findall(r"nstruction: (.*)", prompt)
    known = named(instructions[-1])
    if "two instructions" in prompt:
        known = named(" ".join(instructions))[:4]
    votes: Counter[str] = Counter()
    for case in prompt.split("--- ")[1:]:
        title, _, rest = case.partition("\n")
        question = re.search(r"Question: (.*)", rest)
        if "rong" not in title or question is None:
            continue
        missing = sorted(needed(question[1]) - set(known))
        chance = 0.9 if "missing" in rest else 0.4
        draws = (stable_fraction(what, prompt[:400], question[1]) for what in ("see", "which"))
        sees, which = draws
        pool = missing if missing and sees < chance else list(PROCEDURES)
        votes[pool[int(which * len(pool))]] += 1
    more = [name for name, _ in votes.most_common() if name not in known][: 4 - len(known)]
    return f"<instruction>Do these: {', '.join([*known, *more][:4])}.</instruction>"


def judge(reasons: bool) -> Callable[..., object]:
    """Return a verifier whose reasons name what was missing, or do not."""

    async def verdict(example: Example, attempt: Attempt) -> Verdict:
        right = attempt.text == "right"
        missing = sorted(needed(example.prompt) - set(named(attempt.messages[0].content)))
        why = f"missing: {missing[0]}" if reasons and missing and not right else "answered"
        return Verdict(
            attempt_id=attempt.id, verifier="world@1", value=float(right), answer="", reason=why
        )

    return verdict


def write_inputs(folder: Path, seed: int, reasons: bool) -> None:
    """Write what the step ``skills`` reads: a sample, a probe and assignments."""
    score = Score(
        mean=0.3, n=30, n_none=0, n_error=0, low=0.2, high=0.5, format_ok=1.0, mean_given_ok=0.3
    )
    samples = tables.TableWriter(folder / "sample" / "examples.parquet", tables.EXAMPLES)
    probes = tables.TableWriter(folder / "probe" / "attempts.parquet", tables.JUDGED)
    assigned = tables.TableWriter(folder / "assign" / "assignments.parquet", tables.ASSIGNMENTS)
    with samples, probes, assigned:
        for group in map(str, range(GROUPS)):
            for number in range(PROBED + POOL):
                example = Example(
                    id=str(number),
                    task=group,
                    prompt=f"{seed} {group} {number}",
                    answer_type="exact",
                    reference="right",
                    meta={"verifier": "world"},
                )
                split = "probe" if number < PROBED else "teach"
                samples.write(tables.example_row(example, split))  # type: ignore[arg-type]
                if number >= PROBED:
                    continue
                attempt = Attempt(
                    id=f"{group}/{number}",
                    example_id=example.id,
                    task=group,
                    strategy="direct",
                    model="student",
                    messages=(),
                    sampling=Sampling(),
                    sample=0,
                    text="right" if is_right(OLD.system, example.prompt) else "wrong",
                    finish="stop",
                )
                missing = sorted(needed(example.prompt))[0]
                verdict = Verdict(
                    attempt_id=attempt.id,
                    verifier="world@1",
                    value=float(attempt.text == "right"),
                    answer="",
                    reason=f"missing: {missing}" if reasons else "answered",
                )
                probes.write(tables.judged_row(Judged(attempt=attempt, verdict=verdict)))
            assignment = Assignment(
                group=group,
                strategy="direct",
                evidence=(Evidence(strategy="direct", score=score, tokens_out=4.0),),
                runner_up=None,
                p_value=None,
                reason="best",
            )
            assigned.write(tables.assignment_row(assignment))


def grow(seed: int, growth: str, reasons: bool) -> tuple[list[float], int]:
    """Return each group's gain on unseen questions, and the calls of the step."""
    calls = 0

    def counted(model: Callable[[Messages, Sampling], str]) -> FunctionModel:
        def reply(messages: Messages, sampling: Sampling) -> str:
            nonlocal calls
            calls += 1
            return model(messages, sampling)

        return FunctionModel(reply, model=model.__name__)

    models = {"student": counted(student), "teacher": counted(teacher)}
    registry.register("verifier", "world")(judge(reasons))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, seed, reasons)
        (folder / "out").mkdir()
        with Ledger(folder / "ledger.sqlite") as ledger:
            context = StepContext(
                out=folder / "out",
                inputs={step: folder / step for step in ("sample", "probe", "assign")},
                run="r",
                seed=seed,
                ledger=ledger,
                runtime=Runtime(workspace=folder, ledger_path=folder / "ledger.sqlite"),
                progress=Silent(),
                completer=lambda role, folder=None: models[role],
            )
            config = SkillsConfig(growth=growth, test=60)  # type: ignore[arg-type]
            asyncio.run(skills(config, (OLD,), SamplingConfig(), context))
        written = {
            skill.name.removeprefix("skill for "): skill for skill in read_skills(folder / "out")
        }
    gains = []
    for group in map(str, range(GROUPS)):
        unseen = [f"{seed} {group} {PROBED + POOL + i}" for i in range(UNSEEN)]
        new = written.get(group, OLD).system
        gains.append(float(np.mean([is_right(new, q) - is_right(OLD.system, q) for q in unseen])))
    return gains, calls


def main(seeds: int) -> None:
    """Print what each way gains."""
    for reasons in (True, False):
        found: dict[str, list[float]] = {}
        for growth in ("revise", "front"):
            results = [grow(seed, growth, reasons) for seed in range(seeds)]
            found[growth] = [gain for gains, _ in results for gain in gains]
            kept = np.mean([gain != 0 for gain in found[growth]])
            calls = sum(number for _, number in results) / (seeds * GROUPS)
            print(
                f"reasons {'told' if reasons else 'empty'}, {growth}: kept in {kept:.1%} of "
                f"{seeds * GROUPS} groups, gain {100 * np.mean(found[growth]):+.1f} points, "
                f"{calls:.0f} calls a group"
            )
        more = 100 * (np.array(found["front"]) - np.array(found["revise"]))
        error = more.std(ddof=1) / len(more) ** 0.5
        print(f"  front less revise: {more.mean():+.1f} ± {1.96 * error:.1f} points")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="?", default=5)
    parser.add_argument("--quick", action="store_true", help="one seed")
    arguments = parser.parse_args()
    main(1 if arguments.quick else arguments.seeds)
