"""Write the requests for a question, its checks and its solution, and read the replies.

Cell(levers, number)  ──►  "Topic: levers … Reply with <question>…</question> …"
"<question>How far …?</question> <answer>12</answer>"  ──►  Example(prompt="How far …?", "12")
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from orcinus.core.sampling import SamplingConfig
from orcinus.core.types import LECTURE, AnswerType, Attempt, Example, Message, Request
from orcinus.tasks.authored.concepts import ASK
from orcinus.tasks.authored.config import AuthoredConfig, Cell
from orcinus.tasks.files.drafts import Unusable, text_of
from orcinus.tasks.files.examples import read_answer
from orcinus.verifiers.judge_prompts import Inquiry, rating
from orcinus.verifiers.programs import printed_by

VERSION = 1
"""Raised when the messages change, or how replies are read."""
CONTROL, AUTHOR, SOLVER = "control", "author", "solver"
"""Names of the strategies under which the calls stand in the ledger."""
LONGEST = 8_000
"""Characters of a question. A longer one is a text and not a question."""
_TAGGED = re.compile(
    r"<(question|answer|program|tests|lecture)>(.*?)</\1>", re.DOTALL | re.IGNORECASE
)
_FENCE = re.compile(r"\A```\w*\n(.*?)\n?```\Z", re.DOTALL)


@cache
def texts() -> Mapping[str, Any]:
    """Return the parts of the messages."""
    text = files("orcinus.tasks.authored").joinpath("texts.yaml").read_text(encoding="utf-8")
    found: Mapping[str, Any] = yaml.safe_load(text)
    return found


def author_request(config: AuthoredConfig, cell: Cell, place: int, seed: int) -> Request:
    """Return the request for the question of a cell.

    Args:
        config: The task.
        cell: What the question is about, and its kind.
        place: Counts the task's questions from 0.
        seed: The run's seed.
    """
    authored, parts = config.authored, texts()
    unit = cell.unit
    said = [
        parts["topic"].format(unit=unit.name)
        if unit.text is None
        else parts["document"].replace("{text}", unit.text)
    ]
    if unit.focus is not None:
        said.append(ASK[unit.focus.level].replace("{text}", unit.focus.text))
    if cell.audience is not None:
        said.append(parts["audience"].format(audience=cell.audience))
    if cell.constraint is not None:
        said.append(parts["constraint"].format(constraint=cell.constraint))
    facts: dict[str, Any] = {"topic" if unit.text is None else "document": unit.name}
    if cell.kind == LECTURE:
        facts[LECTURE] = "\n\n".join(["Write a lecture.", *said])
    said.append(parts["kinds"][cell.kind])
    if cell.number > 1:
        said.append(parts["number"].format(number=cell.number))
    said.append(parts["form"][cell.kind])
    if unit.focus is not None:
        focus = unit.focus
        facts |= {"level": focus.level, "concepts": list(focus.concepts)}
        facts["relations"] = list(focus.relations)
    if cell.audience is not None:
        facts["audience"] = cell.audience
    if cell.constraint is not None:
        facts["constraint"] = cell.constraint
    example = Example(
        id=f"{config.name}-{authored.seed}-{place}",
        task=config.name,
        prompt="\n\n".join(said),
        answer_type="free" if cell.kind == LECTURE else cell.kind,
        meta={
            "source_unit": unit.name,
            **facts,
            **({} if config.collection is None else {"collection": config.collection}),
        },
    )
    system = parts["lecturer" if cell.kind == LECTURE else "author"]
    return _request(example, AUTHOR, system, authored.sampling, place, seed)


def draft_in(asked: Example, reply: Attempt) -> Example | str:
    """Return the question or lecture that an author wrote; a text says why there is none.

    A lecture is the prompt of its example: there it is compared with others and with test items.

    Args:
        asked: The example of the author's request.
        reply: Its reply.
    """
    if reply.finish == "length":
        return "the reply was cut off; raise authored.sampling.max_tokens"
    if reply.finish == "refusal":
        return "the author refused"
    found = {name.lower(): text.strip() for name, text in _TAGGED.findall(reply.text)}
    made = {"by": reply.model, "attempt": reply.id}
    if LECTURE in asked.meta:
        if not found.get(LECTURE):
            return "no <lecture>…</lecture> in the reply"
        return replace(asked, prompt=found[LECTURE], meta={**asked.meta, "authored": made})
    needed = "tests" if asked.answer_type == "program" else "answer"
    if not found.get("question"):
        return "no <question>…</question> in the reply"
    if len(found["question"]) > LONGEST:
        return f"the question has {len(found['question']):,} characters"
    answer: str | None = found.get(needed)
    if not answer and asked.answer_type == "number" and found.get("program"):
        answer, problem = printed_by(_unfenced(found["program"]))
        if answer is None:
            return problem
    if not answer:
        return f"no <{needed}>…</{needed}> in the reply"
    if needed == "tests":
        answer = _unfenced(answer)
        if "assert" not in answer:
            return "the tests assert nothing"
    try:
        prompt = text_of(found["question"], "question")
        _, reference = read_answer(asked.answer_type, None, answer)
    except Unusable as error:
        return error.problem
    return Example(
        id=asked.id,
        task=asked.task,
        prompt=prompt,
        answer_type=asked.answer_type,
        reference=reference,
        meta={**asked.meta, "authored": made},
    )


def _unfenced(text: str) -> str:
    found = _FENCE.match(text)
    return found[1] if found else text


def control_inquiry(draft: Example) -> Inquiry:
    """Return the question whether a draft and its stated answer are right, rated from 0 to 1."""
    stated = draft.reference
    stated = stated if isinstance(stated, str) else "\n".join(stated or ())
    task = texts()["control"].replace("{low}", "0").replace("{high}", "1")
    return rating(draft.prompt, stated, scale=(0, 1), task=task)


def control_request(draft: Example, sampling: SamplingConfig, seed: int) -> Request:
    """Return the request that has a control rate a draft."""
    return Request(
        example=draft,
        strategy=CONTROL,
        messages=control_inquiry(draft).messages,
        sampling=SamplingConfig(max_tokens=sampling.max_tokens).sampling(0, seed),
    )


def solver_request(draft: Example, sampling: SamplingConfig, seed: int, tries: int) -> Request:
    """Return the request that has the solver answer a draft, which it sees without its answer.

    Args:
        draft: The question.
        sampling: How the solver writes.
        seed: The run's seed.
        tries: Counts its tries from 0.
    """
    is_program = draft.answer_type == "program"
    system = texts()["solver_program" if is_program else "solver"]
    return _request(draft, SOLVER, system, sampling, tries, seed)


def longest_draft(config: AuthoredConfig) -> Example:
    """Return a draft as long as a reply of the author can be, for upper bounds."""
    kind = config.authored.kinds[0]
    answer_type: AnswerType = "free" if kind == LECTURE else kind
    longest = min(LONGEST, 4 * config.authored.sampling.max_tokens)
    return Example(
        id="", task=config.name, prompt="x" * longest, answer_type=answer_type, reference="1"
    )


def _request(
    example: Example, strategy: str, system: str, sampling: SamplingConfig, sample: int, seed: int
) -> Request:
    return Request(
        example=example,
        strategy=strategy,
        messages=(
            Message(role="system", content=system),
            Message(role="user", content=example.prompt),
        ),
        sampling=sampling.sampling(sample, seed),
        sample=sample,
    )
