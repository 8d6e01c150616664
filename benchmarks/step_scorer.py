"""Score steps of reasoning by the student's own hidden states (Fin-PRM), beside cheaper scores.

    python -m benchmarks.step_scorer --student FOLDER [--student FOLDER …] [--quick] [--json]

A student answers questions of three kinds, and a ridge regression on its last hidden states is
fitted to some of the questions: to the end of each step (do its continuations end right?), and to
the end of the answer (is it right?). Length and place of the step are inputs too. On other
questions three things are measured, over all students:

    known steps   steps of sums that a program made, right or wrong: area under the ROC curve
    own steps     the student's steps, by whether most of four continuations end right: the area
    own answers   right answers against wrong ones to the same question: the area
    decisions     one of 16 answers by the score, by vote, by both; all at the same written tokens

The score of an answer is ``LAMBDA`` · p(answer) + (1 − ``LAMBDA``) · p(steps), their mean, least,
product or last. Beside it stand the mean log-probability of the tokens, and length.
Calls go through a ledger in ``--folder``, so that an interrupted measurement resumes.
"""

import argparse
import asyncio
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.step_validity import steps_of
from orcinus.core.sampling import SamplingConfig
from orcinus.core.stats import Candidate, compare
from orcinus.core.stats.deciding import best_of_n, majority, weighted
from orcinus.core.stats.ranking import auc
from orcinus.core.stats.ridge import choose_penalty, ridge
from orcinus.core.text_steps import steps_in
from orcinus.core.types import Example, Judged, Messages
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.huggingface import LocalModel
from orcinus.models.local.loading import load
from orcinus.runs.context import Runtime, Silent, StepContext
from orcinus.runs.ledger import Ledger
from orcinus.strategies.library import generic_messages
from orcinus.strategies.prompts import conversation
from orcinus.tasks.generators.procedural import ProceduralConfig, draw
from orcinus.verifiers.beginnings import Beginning, continuations, worth_of

F64 = npt.NDArray[np.float64]
GENERATORS: dict[str, tuple[int, int]] = {"sums": (3, 5), "parity": (3, 6), "item": (3, 6)}
"""The kinds of questions of experiment 003, with their sizes."""
FIT_SAMPLES, SAMPLES, CONTINUATIONS = 8, 16, 4
LAMBDA = 0.5
"""Weight of the whole answer against its steps; the specification's."""
LEAST_SHARE = 0.5
"""Share of right continuations from which on a step counts as good."""
SAMPLING = SamplingConfig(temperature=0.8, max_tokens=64)
AGGREGATES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "mean": lambda values: math.fsum(values) / len(values),
    "min": min,
    "product": math.prod,
    "last": lambda values: values[-1],
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """A text as the student reads it."""

    places: tuple[F64, ...]
    """For each step: the hidden state at its end, its length and its place in the answer."""
    logprobs: tuple[float, ...]
    """For each step: the mean log-probability of its tokens."""
    lengths: tuple[int, ...]
    """For each step: its bytes."""
    whole: F64
    """At the end of the text: the hidden state and the length."""
    logprob: float
    """Mean log-probability of all tokens."""
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer of the student."""

    student: int
    judged: Judged
    question: str
    task: str
    steps: tuple[range, ...]
    read: Read

    @property
    def right(self) -> bool:
        return self.judged.verdict.right


def score(whole: float, steps: Sequence[float], *, aggregate: str, share: float = LAMBDA) -> float:
    """Return the score of an answer from those of its whole and of its steps, each 0 … 1.

    >>> score(1, [1, 1, 0, 1], aggregate="mean"), score(1, [1, 1, 0, 1], aggregate="min")
    (0.875, 0.5)
    """
    return share * whole + (1 - share) * AGGREGATES[aggregate](steps)


class Head:
    """A ridge regression on standardised columns that predicts 0 or 1."""

    def __init__(self, rows: Sequence[F64], labels: Sequence[bool]) -> None:
        x, y = np.stack(rows), np.asarray(labels, float)
        self._mean, spread = x.mean(0), x.std(0)
        self._scale = np.where(spread > 1e-9, spread, 1.0)
        self._middle = float(y.mean())
        standard = (x - self._mean) / self._scale
        self.penalty = choose_penalty(standard, y - self._middle)
        self._beta = ridge(standard, y - self._middle, penalty=self.penalty)

    def __call__(self, rows: Sequence[F64]) -> list[float]:
        """Return about how probable each row is to be good, 0 … 1."""
        x = (np.stack(rows) - self._mean) / self._scale
        found: list[float] = np.clip(x @ self._beta + self._middle, 0, 1).tolist()
        return found


class Reader:
    """A student that reads texts; ``layer`` is that of the states, counted as in a list."""

    def __init__(self, student: LocalConfig, layer: int) -> None:
        self._chat, self._model, _ = load(student, "cpu")
        self._layer = layer

    @torch.inference_mode()
    def read(self, messages: Messages, text: str, steps: Sequence[range]) -> Read:
        """Return the student's states at the ends of the steps, and its log-probabilities."""
        tokens, prompt = self._chat.lesson(messages, text)
        written, sizes = self._chat.written_tokens(messages, text)
        ends = np.cumsum(sizes)
        out = self._model(torch.tensor([tokens]), output_hidden_states=True)
        targets_N = torch.tensor(tokens[prompt:])
        logprobs_N = out.logits[0, prompt - 1 : -1].log_softmax(1).gather(1, targets_N[:, None])
        logprobs = logprobs_N[:, 0].double().numpy()
        # The state at place i has read i tokens of the answer.
        states = out.hidden_states[self._layer][0, prompt - 1 :].double().numpy()
        offset = len(written[: written.index(text)].encode()) if text in written else 0
        places, means, lengths = [], [], []
        for number, step in enumerate(steps):
            start, stop = (
                offset + len(text[:place].encode())
                for place in (step.start, step.start + len(text[step.start : step.stop].rstrip()))
            )
            inside = np.flatnonzero((ends > start) & (ends <= max(stop, start + 1)))
            if not len(inside):  # a token that reaches over the end of the step
                inside = np.flatnonzero(ends > start)[:1]
            length = stop - start
            facts = [math.log1p(length), number, (number + 1) / len(steps)]
            places.append(np.concatenate([states[int(inside[-1]) + 1], facts]))
            means.append(float(logprobs[inside].mean()))
            lengths.append(length)
        return Read(
            places=tuple(places),
            logprobs=tuple(means),
            lengths=tuple(lengths),
            whole=np.concatenate([states[-2], [math.log1p(len(text)), len(steps)]]),
            logprob=float(logprobs.mean()),
            length=len(text),
        )


def questions_of(count: int, seed: int) -> list[Example]:
    return [
        example
        for name, size in GENERATORS.items()
        for example in draw(ProceduralConfig(generator=name, count=count, size=size, seed=seed))
    ]


async def ask(
    number: int, student: LocalConfig, counts: Mapping[str, int], folder: Path, layer: int
) -> dict[str, list[Any]]:
    """Return the answers of one student, with the worth of the steps of some of them."""
    system = generic_messages()["cautious"]
    folder.mkdir(parents=True, exist_ok=True)
    path, model, reader = (
        folder / "ledger.sqlite",
        LocalModel(student, device="cpu"),
        Reader(student, layer),
    )
    found: dict[str, list[Any]] = {}
    with Ledger(path) as ledger:
        context = StepContext(
            out=folder,
            run="step-scorer",
            seed=number,
            ledger=ledger,
            runtime=Runtime(workspace=folder, ledger_path=path),
            progress=Silent(),
            completer=lambda role, folder=None: model,
        )

        async def go_on(beginnings: Sequence[Beginning], samples: int) -> list[list[Judged]]:
            sampling = SAMPLING.model_copy(update={"samples": samples})
            return await continuations(beginnings, model, context, step="score", sampling=sampling)

        for part, samples, seed in (("fit", FIT_SAMPLES, 501), ("test", SAMPLES, 502)):
            examples = questions_of(counts[part], seed)
            asked = [
                Beginning(example=one, messages=conversation(system, one), text="")
                for one in examples
            ]
            answers = []
            for beginning, judged in zip(asked, await go_on(asked, samples), strict=True):
                example = beginning.example
                for item in judged:
                    steps = tuple(steps_in(item.attempt.text)) if item.attempt.text else ()
                    if not steps:
                        continue
                    read = reader.read(beginning.messages, item.attempt.text, steps)
                    answers.append(
                        Answer(
                            student=number,
                            judged=item,
                            question=f"{number}/{example.id}",
                            task=example.task,
                            steps=steps,
                            read=read,
                        )
                    )
            found[part] = answers
            drawn = Random(number).sample(answers, min(counts["traces"], len(answers)))
            messages = {f"{number}/{one.example.id}": one for one in asked}
            ends = [(answer, step) for answer in drawn for step in range(len(answer.steps) - 1)]
            worths = await go_on(
                [
                    Beginning(
                        example=messages[answer.question].example,
                        messages=messages[answer.question].messages,
                        text=answer.judged.attempt.text[: answer.steps[step].stop],
                    )
                    for answer, step in ends
                ],
                CONTINUATIONS,
            )
            found[f"{part} steps"] = [
                (answer, step, worth_of(judged) or 0.0)
                for (answer, step), judged in zip(ends, worths, strict=True)
            ]
    await model.aclose()
    found["known"] = list(known_steps(reader, system, counts["known"]))
    return found


def known_steps(reader: Reader, system: str, count: int) -> Iterator[tuple[str, Read, bool]]:
    """Yield steps of sums that a program made: the question, the step as read, is it right?"""
    random = Random(0)
    for example in draw(ProceduralConfig(generator="sums", count=count, size=(4, 6), seed=77)):
        for step in steps_of(example, conversation(system, example), random):
            text = (step.before + step.text).rstrip()
            places = [range(len(step.before), len(text))]
            yield example.id, reader.read(step.messages, text, places), step.kind != "wrong"


def measure(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the areas and the decisions over all students; each has heads of its own."""
    rows: dict[str, dict[str, list[tuple[float, bool, str]]]] = {
        part: {} for part in ("known steps", "own steps", "own answers")
    }
    decided: dict[str, dict[str, list[float]]] = {}
    facts = []
    for number, of_student in enumerate(found):
        known = of_student["known"]
        ids = sorted({question for question, _, _ in known})
        fit_ids = set(ids[::2])
        head = Head(*zip(*((r.places[0], ok) for q, r, ok in known if q in fit_ids), strict=True))
        held = [(f"{number}", read, ok) for q, read, ok in known if q not in fit_ids]
        _add(rows["known steps"], "scorer", head([r.places[0] for _, r, _ in held]), held)
        _add(rows["known steps"], "log-probability", [r.logprobs[0] for _, r, _ in held], held)
        _add(rows["known steps"], "length", [-float(r.lengths[0]) for _, r, _ in held], held)

        of_steps = [
            (a.read.places[step], w >= LEAST_SHARE) for a, step, w in of_student["fit steps"]
        ]
        of_whole = [(a.read.whole, a.right) for a in of_student["fit"]]
        steps, whole = Head(*zip(*of_steps, strict=True)), Head(*zip(*of_whole, strict=True))
        items = [
            (f"{number}/{a.task}", a.read, w >= LEAST_SHARE) for a, _, w in of_student["test steps"]
        ]
        at = [(a.read, step) for a, step, _ in of_student["test steps"]]
        _add(rows["own steps"], "scorer", steps([r.places[s] for r, s in at]), items)
        _add(rows["own steps"], "log-probability", [r.logprobs[s] for r, s in at], items)
        _add(rows["own steps"], "length", [-float(r.lengths[s]) for r, s in at], items)

        answers = of_student["test"]
        p_whole = whole([a.read.whole for a in answers])
        p_steps = [steps(a.read.places) for a in answers]
        scores = {
            f"scorer, {name}": [
                score(w, s, aggregate=name) for w, s in zip(p_whole, p_steps, strict=True)
            ]
            for name in AGGREGATES
        }
        scores |= {
            "scorer, whole only": p_whole,
            "scorer, steps only": [AGGREGATES["mean"](s) for s in p_steps],
            "log-probability": [math.exp(a.read.logprob) for a in answers],
            "length": [1 / (1 + a.read.length) for a in answers],
        }
        items = [(a.question, a.read, a.right) for a in answers]
        for name, values in scores.items():
            _add(rows["own answers"], name, values, items)
        _decide(decided, answers, scores)
        facts.append(
            {
                "right": round(float(np.mean([a.right for a in answers])), 3),
                "answers": len(answers),
                "fit_steps": len(of_steps),
                "good_steps": round(float(np.mean([good for _, good in of_steps])), 3),
                "tokens": round(
                    float(np.mean([a.judged.attempt.usage.tokens_out for a in answers])), 1
                ),
            }
        )
    keys = sorted(decided["majority"])
    means = {
        name: [float(np.mean(of_students[key])) for key in keys]
        for name, of_students in decided.items()
    }
    return {
        "students": facts,
        "auc": {
            part: {name: _area(values) for name, values in by_name.items()}
            for part, by_name in rows.items()
        },
        "decisions": {
            name: {
                "accuracy": round(float(np.mean(values)), 4),
                **_against(values, means["majority"], keys),
            }
            for name, values in means.items()
        },
        "questions": len(keys),
    }


def _decide(
    decided: dict[str, dict[str, list[float]]],
    answers: Sequence[Answer],
    scores: Mapping[str, Sequence[float]],
) -> None:
    """Choose one of the answers to each question in several ways; add 1 where it is right, or 0.

    The same question to several students is one item.
    """
    places: dict[str, list[int]] = {}
    for place, answer in enumerate(answers):
        places.setdefault(answer.question, []).append(place)
    ways: dict[str, tuple[Any, Sequence[float]]] = {
        "majority": (majority, [0.0] * len(answers)),
        "one answer": (lambda _: 0, [0.0] * len(answers)),
    }
    for name in ("scorer, mean", "scorer, min", "scorer, whole only", "log-probability"):
        ways[f"best, {name}"] = (best_of_n, scores[name])
        ways[f"weighted, {name}"] = (weighted, scores[name])
    for question, of_question in places.items():
        for name, (decide, rewards) in ways.items():
            candidates = [
                Candidate(answer=answers[i].judged.verdict.answer, reward=rewards[i])
                for i in of_question
            ]
            chosen = answers[of_question[decide(candidates)]]
            item = f"{chosen.task}|{question.partition('/')[2]}"
            decided.setdefault(name, {}).setdefault(item, []).append(float(chosen.right))


def _add(
    rows: dict[str, list[tuple[float, bool, str]]],
    name: str,
    values: Sequence[float],
    items: Sequence[tuple[str, Read, bool]],
) -> None:
    rows.setdefault(name, []).extend(
        (value, good, stratum) for value, (stratum, _, good) in zip(values, items, strict=True)
    )


def _area(values: Sequence[tuple[float, bool, str]]) -> dict[str, Any] | None:
    numbers, good, strata = zip(*values, strict=True)
    area = auc(numbers, good, strata)
    if area is None:
        return None
    return {
        "value": round(area.value, 3),
        "low": round(area.low, 3),
        "high": round(area.high, 3),
        "n": len(values),
    }


def _against(mine: Sequence[float], base: Sequence[float], keys: Sequence[str]) -> dict[str, float]:
    if list(mine) == list(base):
        return {}
    found = compare(mine, base, seed=0, strata=[key.split("|")[0] for key in keys])
    return {
        "against_majority": round(found.difference, 4),
        "low": round(found.low, 4),
        "high": round(found.high, 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--student", type=Path, action="append", help="folder of a model")
    parser.add_argument("--count", type=int, default=30, help="questions of a kind and part")
    parser.add_argument("--traces", type=int, default=40, help="answers whose steps are measured")
    parser.add_argument("--layer", type=int, default=-1, help="of the hidden states; -1 the last")
    parser.add_argument("--folder", type=Path, default=Path("runs/step-scorer"))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    paths = arguments.student or [Path(str(files("orcinus.pipeline.demo"))) / "base"]
    count = 6 if arguments.quick else arguments.count
    traces = 12 if arguments.quick else arguments.traces
    counts = {"fit": count, "test": count, "traces": traces, "known": 8 * count}
    found = []
    for number, path in enumerate(paths):
        student = LocalConfig(path=str(path), chat_template="chatml")
        found.append(asyncio.run(ask(number, student, counts, arguments.folder, arguments.layer)))
    result = measure(found)
    if arguments.json:
        print(json.dumps(result))
        return
    for part, by_name in result["auc"].items():
        for name, area in by_name.items():
            print(part, name, area, sep="   ")
    for name, value in result["decisions"].items():
        print(name, value, sep="   ")
    print(result["students"], result["questions"])


if __name__ == "__main__":
    main()
