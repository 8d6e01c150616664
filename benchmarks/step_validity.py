"""Tell valid steps of reasoning from wrong ones by what a student makes of them.

    python -m benchmarks.step_validity [--student FOLDER] [--quick] [--json]

Questions ask to add digits, and a program writes the steps. Of each question one step is kept, one
is replaced by another valid one (another digit is added first), and one by a wrong sum. The student
continues from each eight times under the erased message, as ``weigh`` lets it. Three numbers of a
step are compared by the area under the ROC curve, valid steps against wrong ones:

    worth     share of the continuations that end right; ``weight`` is that against the student's
              own step
    logprob   mean log-probability of the step's tokens under the student
    length    bytes of the step, the fewer the better

Calls go through a ledger in ``--folder``, so that an interrupted measurement resumes.
"""

import argparse
import asyncio
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import accumulate
from pathlib import Path
from random import Random
from typing import Any

import torch

from orcinus.core.sampling import SamplingConfig
from orcinus.core.stats.ranking import auc
from orcinus.core.types import Example, Judged, Messages
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.huggingface import LocalModel
from orcinus.models.local.loading import load
from orcinus.runs.context import Runtime, Silent, StepContext
from orcinus.runs.ledger import Ledger
from orcinus.strategies.library import generic_messages
from orcinus.strategies.prompts import conversation
from orcinus.tasks.generators.procedural import ProceduralConfig, draw
from orcinus.training.config import WeighConfig
from orcinus.training.weigh import Boundary, own_step, step_weight
from orcinus.verifiers.beginnings import Beginning, continuations, worth_of

KINDS = ("kept", "other order", "wrong")
SAMPLING = SamplingConfig(samples=8, temperature=0.7, max_tokens=96)
SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a solution, and the student's own in its place."""

    example: Example
    messages: Messages
    kind: str
    before: str
    text: str


def steps_of(example: Example, messages: Messages, random: Random) -> Iterator[Step]:
    """Yield the same step of a solution as it is, in another order, and wrong."""
    digits = [int(word) for word in example.prompt.removeprefix("Add ").rstrip(".").split()]
    place = random.randrange(1, len(digits) - 1)  # the last step has no other order
    totals = list(accumulate(digits))
    before = "".join(f"{totals[i - 1]} + {digits[i]} = {totals[i]}, " for i in range(1, place))
    total, digit = totals[place - 1], digits[place]
    others = [other for other in digits[place + 1 :] if other != digit]
    other = random.choice(others) if others else digit
    wrong = total + digit + random.choice([-3, -2, -1, 1, 2, 3])
    texts = (
        f"{total} + {digit} = {total + digit}, ",
        f"{total} + {other} = {total + other}, ",
        f"{total} + {digit} = {wrong}, ",
    )
    for kind, text in zip(KINDS, texts, strict=True):
        if kind != "other order" or others:
            yield Step(example=example, messages=messages, kind=kind, before=before, text=text)


async def measure(student: LocalConfig, count: int, folder: Path) -> dict[str, Any]:
    """Return the areas for ``count`` questions."""
    system = generic_messages()["cautious"]
    random = Random(SEED)
    questions = draw(ProceduralConfig(generator="sums", count=count, size=(4, 6), seed=77))
    steps = [
        step
        for example in questions
        for step in steps_of(example, conversation(system, example), random)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "ledger.sqlite"
    model = LocalModel(student, device="cpu")
    with Ledger(path) as ledger:
        context = StepContext(
            out=folder,
            run="step-validity",
            seed=SEED,
            ledger=ledger,
            runtime=Runtime(workspace=folder, ledger_path=path),
            progress=Silent(),
            completer=lambda role, folder=None: model,
        )

        async def go_on(texts: Sequence[str], samples: int) -> list[list[Judged]]:
            beginnings = [
                Beginning(example=step.example, messages=step.messages, text=text)
                for step, text in zip(steps, texts, strict=True)
            ]
            sampling = SAMPLING.model_copy(update={"samples": samples})
            return await continuations(beginnings, model, context, step="worth", sampling=sampling)

        proposed = await go_on([step.before for step in steps], 1)
        own = [
            own_step(
                answers[0].attempt.text,
                Boundary(step=0, before=step.before, teacher=step.text),
                WeighConfig(),
            )
            for step, answers in zip(steps, proposed, strict=True)
        ]
        theirs = await go_on([step.before + step.text for step in steps], SAMPLING.samples)
        mine = await go_on(
            [step.before + text for step, text in zip(steps, own, strict=True)], SAMPLING.samples
        )
    await model.aclose()
    worths = [(worth_of(a) or 0.0, worth_of(b) or 0.0) for a, b in zip(theirs, mine, strict=True)]
    numbers = {
        "worth": [teacher for teacher, _ in worths],
        "weight": [step_weight(*pair, beta=4, least=0.1) for pair in worths],
        "logprob": logprobs_of(student, steps),
        "length": [-float(len(step.text)) for step in steps],
    }
    return {
        "questions": count,
        "steps": {kind: sum(step.kind == kind for step in steps) for kind in KINDS},
        "worth": {
            kind: round(
                _mean(t for (t, _), s in zip(worths, steps, strict=True) if s.kind == kind), 3
            )
            for kind in KINDS
        },
        "own_worth": round(_mean(own for _, own in worths), 3),
        "hopeless": round(_mean(float(t == o == 0) for t, o in worths), 3),
        "auc": {
            name: {
                "valid": _area(values, steps, ("kept", "other order")),
                "kept": _area(values, steps, ("kept",)),
                "other order": _area(values, steps, ("other order",)),
            }
            for name, values in numbers.items()
        },
    }


@torch.inference_mode()
def logprobs_of(student: LocalConfig, steps: Sequence[Step]) -> list[float]:
    """Return the mean log-probability of each step's tokens under the student."""
    chat, model, _ = load(student, "cpu")
    found = []
    for step in steps:
        text = step.before + step.text.rstrip()
        tokens, prompt = chat.lesson(step.messages, text)
        _, lengths = chat.written_tokens(step.messages, text)
        ends = list(accumulate(lengths))
        inside = [i for i, end in enumerate(ends) if len(step.before) < end <= len(text)]
        logits = model(torch.tensor([tokens])).logits[0, prompt - 1 : -1].log_softmax(1)
        values = logits.gather(1, torch.tensor(tokens[prompt:])[:, None])[:, 0]
        found.append(float(values[inside].mean()))
    return found


def _mean(values: Any) -> float:
    listed = list(values)
    return math.fsum(listed) / len(listed) if listed else float("nan")


def _area(
    values: Sequence[float], steps: Sequence[Step], valid: Sequence[str]
) -> tuple[float, float, float] | None:
    """Return the area of valid steps against wrong ones, with its interval."""
    chosen = [
        (value, step.kind in valid)
        for value, step in zip(values, steps, strict=True)
        if step.kind in (*valid, "wrong")
    ]
    area = auc([value for value, _ in chosen], [good for _, good in chosen])
    return None if area is None else (round(area.value, 3), round(area.low, 3), round(area.high, 3))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--student", type=Path, help="folder of a model; the demo's by default")
    parser.add_argument("--count", type=int, default=150, help="questions")
    parser.add_argument("--folder", type=Path, default=Path("runs/step-validity"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    path = arguments.student or Path(str(files("orcinus.pipeline.demo"))) / "base"
    student = LocalConfig(path=str(path), chat_template="chatml")
    count = 12 if arguments.quick else arguments.count
    found = asyncio.run(measure(student, count, arguments.folder))
    if arguments.json:
        print(json.dumps(found))
        return
    for name, areas in found["auc"].items():
        print(name, *(f"{kind} {area}" for kind, area in areas.items()), sep="   ")
    print({name: value for name, value in found.items() if name != "auc"})


if __name__ == "__main__":
    main()
