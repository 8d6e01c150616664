"""Lessons in the layouts that other trainers read.

messages   {"messages": [{"role": "system", …}, {"role": "user", …}, {"role": "assistant", …}]}
sharegpt   {"conversations": [{"from": "system", …}, {"from": "human", …}, {"from": "gpt", …}]}
alpaca     {"system": …, "instruction": …, "input": "", "output": …}
trl        {"prompt": [messages …], "completion": [{"role": "assistant", …}]}
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import orjson

from orcinus.errors import ConfigError
from orcinus.store import tables
from orcinus.types import Lesson

Layout = Literal["messages", "sharegpt", "alpaca", "trl"]
_SHAREGPT_ROLES = {"system": "system", "developer": "system", "user": "human", "assistant": "gpt"}


def _answer(lesson: Lesson) -> str:
    return (
        lesson.completion
        if lesson.reasoning is None
        else f"<think>\n{lesson.reasoning}\n</think>\n\n{lesson.completion}"
    )


def _given(lesson: Lesson) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in lesson.messages]


def _messages(lesson: Lesson) -> dict[str, Any]:
    return {"messages": [*_given(lesson), {"role": "assistant", "content": _answer(lesson)}]}


def _sharegpt(lesson: Lesson) -> dict[str, Any]:
    turns = [{"from": _SHAREGPT_ROLES[m.role], "value": m.content} for m in lesson.messages]
    return {"conversations": [*turns, {"from": "gpt", "value": _answer(lesson)}]}


def _alpaca(lesson: Lesson) -> dict[str, Any]:
    system = "\n".join(m.content for m in lesson.messages if m.role in ("system", "developer"))
    turns = [m for m in lesson.messages if m.role in ("user", "assistant")]
    history = [[turns[i].content, turns[i + 1].content] for i in range(0, len(turns) - 1, 2)]
    row = {"system": system, "instruction": turns[-1].content, "input": "", "output": _answer(lesson)}
    return row | ({"history": history} if history else {})


def _trl(lesson: Lesson) -> dict[str, Any]:
    return {"prompt": _given(lesson), "completion": [{"role": "assistant", "content": _answer(lesson)}]}


LAYOUTS: Mapping[Layout, Callable[[Lesson], dict[str, Any]]] = {
    "messages": _messages,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
    "trl": _trl,
}


def export_lessons(lessons: Path, layout: Layout, out: Path) -> int:
    """Write the lessons of a ``lessons.parquet`` to the JSONL file ``out``, and return how many there are.

    Raises:
        ConfigError: There is no such layout.
    """
    if layout not in LAYOUTS:
        raise ConfigError(f"no layout named {layout!r}; known: {', '.join(get_args(Layout))}")
    convert, count = LAYOUTS[layout], 0
    part = out.with_name(out.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("wb") as file:
        for lesson in tables.read_lessons(lessons):
            file.write(orjson.dumps(convert(lesson), option=orjson.OPT_APPEND_NEWLINE))
            count += 1
    part.replace(out)
    return count
