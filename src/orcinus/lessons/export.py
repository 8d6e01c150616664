"""Write lessons in the layouts that other trainers read.

One file of JSON Lines:

messages   {"messages": [{"role": "system", …}, {"role": "user", …}, {"role": "assistant", …}]}
sharegpt   {"conversations": [{"from": "system", …}, {"from": "human", …}, {"from": "gpt", …}]}
alpaca     {"system": …, "instruction": …, "input": "", "output": …}
trl        {"prompt": [messages …], "completion": [{"role": "assistant", …}]}

preferences (TRL) has a row for each right lesson with a wrong answer to its question, and the ids
of both attempts: {"prompt": [messages …], "chosen": [{"role": "assistant", …}], "rejected": […]}

A folder that also holds what the trainer needs beside the rows:

axolotl         lessons.jsonl (messages) and a dataset section for its YAML
llama-factory   lessons.jsonl (sharegpt, the system message in its own column), dataset_info.json
dataset         a Hugging Face dataset: Parquet with provenance in every row, and a card with the
                licences and a warning about the teacher's terms

Where the assistant calls tools, rows have a column ``tools``. ``alpaca`` has no place for them, and
in ``dataset`` calls and results are texts, which every trainer reads.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import orjson
import yaml

from orcinus.core.errors import ConfigError
from orcinus.core.files import replacing, write_atomically
from orcinus.core.printing import markdown_text
from orcinus.core.tool_calls import (
    as_json,
    as_plain_text,
    as_turns,
    definitions_in,
    has_tools,
    split_calls,
)
from orcinus.core.types import Lesson, Message, Messages
from orcinus.lessons.erase import split_reasoning
from orcinus.lessons.preferences import preference_pairs
from orcinus.runs import layout as names
from orcinus.runs import tables
from orcinus.runs.folders import finished_steps, summary_of

Row = TypeVar("Row")
Layout = Literal["messages", "sharegpt", "alpaca", "trl"]
PREFERENCES = "preferences"
"""Name of the layout of pairs, which needs a run's attempts beside its lessons."""
Folder = Literal["axolotl", "llama-factory", "dataset"]
_SHAREGPT_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "human",
    "assistant": "gpt",
    "tool": "observation",
}
_TOOL_TAGS = {"observation_tag": "observation", "function_tag": "function_call"}


def _answer(lesson: Lesson) -> str:
    return (
        lesson.completion
        if lesson.reasoning is None
        else f"<think>\n{lesson.reasoning}\n</think>\n\n{lesson.completion}"
    )


def _conversation(lesson: Lesson) -> Messages:
    return (*lesson.messages, Message(role="assistant", content=_answer(lesson)))


def _messages(lesson: Lesson) -> dict[str, Any]:
    conversation = _conversation(lesson)
    return _with_tools(
        {"messages": as_turns(conversation, arguments_as_text=True)}, definitions_in(conversation)
    )


def _with_tools(row: dict[str, Any], tools: Any) -> dict[str, Any]:
    return {**row, "tools": tools} if tools else row


def _sharegpt(lesson: Lesson) -> dict[str, Any]:
    conversation = _conversation(lesson)
    turns = [_sharegpt_turn(m, has_tools(conversation)) for m in conversation if m.role != "tools"]
    tools = [tool["function"] for tool in definitions_in(conversation)]
    return _with_tools({"conversations": turns}, as_json(tools) if tools else None)


def _sharegpt_turn(message: Message, tools: bool) -> dict[str, str]:
    """Return a turn; calls without words are a turn of ``function_call``, as LLaMA-Factory has."""
    words, calls = split_calls(message.content) if tools else (message.content, [])
    if message.role == "assistant" and calls and not words:
        return {"from": "function_call", "value": as_json(calls if len(calls) > 1 else calls[0])}
    return {"from": _SHAREGPT_ROLES[message.role], "value": message.content}


def _alpaca(lesson: Lesson) -> dict[str, Any]:
    if has_tools(lesson.messages):
        raise ConfigError(
            "the layout alpaca has no place for tools, which some lessons call; "
            "take messages, sharegpt or trl"
        )
    system = "\n".join(m.content for m in lesson.messages if m.role in ("system", "developer"))
    turns = [m for m in lesson.messages if m.role in ("user", "assistant")]
    if not turns:  # a lecture
        return {"system": "", "instruction": "", "input": "", "output": _answer(lesson)}
    history = [[turns[i].content, turns[i + 1].content] for i in range(0, len(turns) - 1, 2)]
    row = {
        "system": system,
        "instruction": turns[-1].content,
        "input": "",
        "output": _answer(lesson),
    }
    return row | ({"history": history} if history else {})


def _trl(lesson: Lesson) -> dict[str, Any]:
    conversation = _conversation(lesson)
    turns = as_turns(conversation, arguments_as_text=False)
    return _with_tools(
        {"prompt": turns[:-1], "completion": turns[-1:]}, definitions_in(conversation)
    )


LAYOUTS: Mapping[str, Callable[[Lesson], dict[str, Any]]] = {
    "messages": _messages,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
    "trl": _trl,
}


def export_lessons(lessons: Path, layout: str, out: Path, *, name: str) -> int:
    """Write the lessons of a ``lessons.parquet`` in a trainer's layout.

    Args:
        lessons: The table.
        layout: One of ``Layout``, for a file, or of ``Folder``, for a folder.
        out: The file or folder. A folder is made; files of the same names in it are replaced.
        name: The run's name, used as the name of the data set.

    Returns:
        The number of lessons.

    Raises:
        ConfigError: There is no such layout.
        StoreError: The table cannot be read, or a file cannot be written.
    """
    if layout in LAYOUTS:
        return _write_lines(tables.read_lessons(lessons), LAYOUTS[layout], out)
    if layout not in FOLDERS:
        raise ConfigError(
            f"no layout named {layout!r}; "
            f"known: {', '.join((*get_args(Layout), PREFERENCES, *get_args(Folder)))}"
        )
    out.mkdir(parents=True, exist_ok=True)
    return FOLDERS[layout](lessons, out, name)


def export_preferences(run_dir: Path, out: Path) -> int:
    """Write the right lessons of a run, each against a wrong answer to its question.

    Wrong answers are those of the student in ``rehearse``, else those of the student in ``select``,
    else the teacher's.

    Returns:
        The number of pairs.

    Raises:
        ConfigError: No ``erase`` step is finished, or there is no pair.
        StoreError: A table cannot be read, or the file cannot be written.
    """
    erased = finished_steps(run_dir, "erase")[0]
    record = summary_of(erased)
    steps = {role: run_dir / name for role, name in record["inputs"].items()}
    asked = [steps[role] for role in ("rehearse", "sample") if role in steps]
    for role in (role for role in ("curate", "curate_assistant") if role in steps):
        asked.append(run_dir / summary_of(steps[role])["inputs"]["teach"])
    found = preference_pairs(
        erased / names.LESSONS,
        [path for folder in asked if (path := folder / names.ATTEMPTS).exists()],
        lambda judged: split_reasoning(judged, record["config"]["layout"]),
    )
    first = next(found, None)
    if first is None:  # before a file of that name is replaced
        raise ConfigError(
            "no pair: no question of a right lesson has a wrong answer; add rehearse: {} to the "
            "recipe, so that the student answers the taught questions before it learns"
        )
    return _write_lines(chain([first], found), _preference, out)


def _preference(pair: tuple[Lesson, Lesson]) -> dict[str, Any]:
    chosen, rejected = map(_trl, pair)
    answer = chosen.pop("completion")
    return {
        **chosen,
        "chosen": answer,
        "rejected": rejected["completion"],
        "task": pair[0].task,
        "example_id": pair[0].example_id,
        "lesson": pair[0].id,
        "chosen_attempt": pair[0].attempt_id,
        "rejected_attempt": pair[1].attempt_id,
    }


def _write_lines(rows: Iterable[Row], convert: Callable[[Row], dict[str, Any]], out: Path) -> int:
    count = 0
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as file:
        for row in rows:
            file.write(orjson.dumps(convert(row), option=orjson.OPT_APPEND_NEWLINE))
            count += 1
    return count


def _to_axolotl(lessons: Path, out: Path, name: str) -> int:
    count = _write_lines(tables.read_lessons(lessons), _messages, out / "lessons.jsonl")
    section = {
        "datasets": [
            {
                "path": str((out / "lessons.jsonl").resolve()),
                "ds_type": "json",
                "type": "chat_template",
                "field_messages": "messages",
                "message_property_mappings": {"role": "role", "content": "content"},
                "roles_to_train": ["assistant"],
                "train_on_eos": "turn",
            }
        ]
    }
    write_atomically(out / "axolotl.yaml", yaml.safe_dump(section, sort_keys=False).encode())
    return count


def _to_llama_factory(lessons: Path, out: Path, name: str) -> int:
    with_tools: set[str] = set()

    def row(lesson: Lesson) -> dict[str, Any]:
        exported = _sharegpt(lesson)
        turns = exported["conversations"]
        with_tools.update(exported.keys() & {"tools"})
        system = "\n".join(turn["value"] for turn in turns if turn["from"] == "system")
        return {
            **exported,
            "conversations": [turn for turn in turns if turn["from"] != "system"],
            "system": system,
        }

    count = _write_lines(tables.read_lessons(lessons), row, out / "lessons.jsonl")
    info = {
        name: {
            "file_name": "lessons.jsonl",
            "formatting": "sharegpt",
            "columns": {
                "messages": "conversations",
                "system": "system",
                **{name: name for name in with_tools},
            },
            "tags": {
                "role_tag": "from",
                "content_tag": "value",
                "user_tag": "human",
                "assistant_tag": "gpt",
                **(_TOOL_TAGS if with_tools else {}),
            },
        }
    }
    write_atomically(out / "dataset_info.json", orjson.dumps(info, option=orjson.OPT_INDENT_2))
    return count


def _to_dataset(lessons: Path, out: Path, name: str) -> int:
    (out / "data").mkdir(exist_ok=True)
    teachers, licences, strategies = Counter[str](), Counter[str](), Counter[str]()
    with tables.TableWriter(out / "data" / "train.parquet", tables.EXPORTED) as writer:
        for lesson in tables.read_lessons(lessons):
            licence = lesson.meta.get("licence") or "not stated"
            teachers[lesson.teacher] += 1
            licences[str(licence)] += 1
            strategies[lesson.strategy] += 1
            writer.write(
                {
                    "messages": [
                        {"role": message.role, "content": message.content}
                        for message in as_plain_text(_conversation(lesson))
                    ],
                    "id": lesson.id,
                    "task": lesson.task,
                    "example_id": lesson.example_id,
                    "strategy": lesson.strategy,
                    "teacher": lesson.teacher,
                    "licence": licence,
                    "weight": lesson.weight,
                }
            )
    write_atomically(
        out / "README.md", _card(name, writer.rows, teachers, licences, strategies).encode()
    )
    return writer.rows


def _card(
    name: str, rows: int, teachers: Counter[str], licences: Counter[str], strategies: Counter[str]
) -> str:
    """Return the dataset card in the Hugging Face hub's format."""

    def table(title: str, counts: Counter[str]) -> str:
        lines = [f"| {title} | lessons |", "|---|---:|"]
        cells = ((markdown_text(key), number) for key, number in counts.most_common())
        return "\n".join([*lines, *(f"| {key} | {number:,} |" for key, number in cells)])

    return f"""---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train.parquet
tags: [orcinus, explanation-distillation, synthetic]
---

# {markdown_text(name)}

{rows:,} lessons for supervised fine-tuning, made with orcinus. A teacher explains each question in
the strategy that worked best for the student on this kind of question. The instruction for the
strategy is not in `messages`; the column `strategy` names it.

The explanations were written by a model, and checked against references where there are any.
**Before you publish them or train on them**: the terms of the teacher's provider may forbid
training other models on its outputs, and each source's licence applies to its questions.

{table("teacher", teachers)}

{table("licence of the questions", licences)}

{table("strategy", strategies)}
"""


FOLDERS: Mapping[str, Callable[[Path, Path, str], int]] = {
    "axolotl": _to_axolotl,
    "llama-factory": _to_llama_factory,
    "dataset": _to_dataset,
}
