r"""Convert rows of known layouts, public and private, to drafts of examples.

    BIG-Bench Hard  {"input": "Which statement is …\\nOptions:\\n(A) …", "target": "(A)"}
    AGIEval         {"passage": …, "question": …, "options": ["(A)…", …], "label": "C"}
    OpenOrca        {"id": "niv2.242684", "system_prompt": …, "question": …, "response": …}
    anything else   {"question": …, "choices": […], "answer": …}, or as the recipe's ``columns`` say

The names of a row's fields show its layout. Each RowDraft later becomes an Example
(``examples.py``).
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from orcinus.core.tool_calls import DEFINITIONS, SPEAKER
from orcinus.tasks.files.rows import kind_of
from orcinus.tasks.files.tool_turns import CHAT_ROLES, read_turns, speaks_of_tools

Columns = Mapping[str, str | tuple[str, ...]]
Layout = Literal[
    "native", "bbh", "agieval", "openorca", "chat", "alpaca", "flan", "superni", "history", "plain"
]

LAYOUTS: Mapping[Layout, str] = {
    "native": "a column named prompt",
    "plain": "columns of the usual names",
    "bbh": "BIG-Bench Hard",
    "agieval": "AGIEval",
    "openorca": "OpenOrca",
    "chat": "ShareGPT, SlimOrca or messages",
    "alpaca": "Alpaca",
    "flan": "FLAN v2",
    "superni": "Super-NaturalInstructions",
    "history": "a problem and its submissions, each with feedback",
}
"""The layouts, and how a message describes each."""
PROMPT = ("prompt", "question", "instruction", "query", "problem", "input", "inputs", "text")
CONTEXT = ("context", "passage", "article")
"""A text that a question is about. It comes before a question that does not hold it already."""
WHOLE_PROMPT = "prompt"
"""A column of this name holds all that is asked: no context is put before it."""
REFERENCE = (
    "reference",
    "answer",
    "answers",
    "target",
    "label",
    "answerKey",
    "gold",
    "solution",
    "output",
    "targets",
    "response",
    "completion",
    "chosen",
)
RESPONSE = ("response", "completion", "chosen")
CHAT_REFERENCE = (
    "reference",
    "answer",
    "expected_answer",
    "final_answer",
    "gold",
    "target",
    "label",
    "solution",
)
"""Columns beside a conversation that hold the right answer, as in NuminaMath and OpenR1-Math."""
CHOICES = ("choices", "options", "endings", "candidates")
ID = ("id", "uid", "qid", "question_id", "example_id", "idx")
TASK = ("task", "task_name", "subject", "_task_name")
CARRIED = (
    "licence",
    "license",
    "collection",
    "difficulty",
    "level",
    "subject",
    "category",
    "tags",
    "passage_id",
    "source_unit",
    "formula",
    "verbosity",
    "source",
)
"""Fields that are kept in ``meta``, in every layout."""
FLAN_COLLECTIONS = {
    "cot": "cot",
    "niv2": "niv2",
    "t0": "t0",
    "flan": "flan2021",
    "flan2021": "flan2021",
    "dialog": "dialog",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowDraft:
    """The parts of an example as a row gives them, unchecked."""

    prompt: Any
    id: Any = None
    task: Any = None
    choices: Any = None
    reference: Any = None
    answer_type: Any = None
    system: str | None = None
    """The system message of a row that already has an answer."""
    response: str | None = None
    """A model's answer, in a row that already has one."""
    meta: Mapping[str, Any] = field(default_factory=dict)


class Unusable(ValueError):
    """A row cannot be used; the message says why and what to do."""

    def __init__(self, problem: str, in_recipe: str = "") -> None:
        """Take what is wrong, and what to change in the recipe where that is a cure."""
        super().__init__(f"{problem}; {in_recipe}" if in_recipe else problem)
        self.problem = problem


class NoPrompt(Unusable):
    """No column has one of the names under which prompts are found."""


_SURROGATE = re.compile("[\ud800-\udfff]")
_EXACT_UP_TO = 2**53
"""Above this a float cannot hold every whole number."""


def text_of(value: Any, what: str) -> str:
    """Return ``value``, a text or a number, as text.

    Args:
        value: As the row has it.
        what: Its part in an example, for the message.

    Raises:
        Unusable: It is neither, or empty, or damaged.
    """
    if isinstance(value, str):
        text = value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        text = _digits(value, what)
    else:
        found = "missing" if value is None else f"{kind_of(value)}, not a text"
        raise Unusable(
            f"the {what} is {found}", "give a text, or name another column with columns:"
        )
    if not text.strip():
        raise Unusable(f"the {what} is empty", "fill it, or set skip_bad: true to skip such rows")
    if not text.isascii() and _SURROGATE.search(text):
        raise Unusable(
            f"the {what} holds half a character (a lone surrogate); "
            "it was damaged when the file was made"
        )
    return text


def _digits(value: float, what: str) -> str:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Unusable(
                f"the {what} is {value}, which is no number; leave it out, or write what is meant"
            )
        if abs(value) >= _EXACT_UP_TO:
            raise Unusable(
                f"the {what} is {value}, a number too large to be read exactly; write it in quotes"
            )
    return str(value)


def _optional_text(value: Any, what: str) -> str:
    """Return ``text_of`` the value, or an empty text if it is missing."""
    return "" if value is None or value == "" else text_of(value, what)


def names_of(fields: Mapping[str, Any]) -> str:
    """Return the columns of a row, for messages."""
    names = [str(name)[:40] for name in fields]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def layout_of(fields: Mapping[str, Any]) -> Layout:
    """Return the layout of a row, from the names of its fields."""
    names = set(fields)
    if _is_turns(fields.get("prompt")) or (
        "prompt" not in names and _is_turns(fields.get("chosen"))
    ):
        return "chat"
    for layout, needed in _SIGNS:
        if needed <= names:
            return layout
    return "plain"


_CHOSEN = ("completion", "chosen")
"""Where TRL's layouts keep the turns of the answer."""

_SIGNS: tuple[tuple[Layout, set[str]], ...] = (
    ("chat", {"conversations"}),
    ("chat", {"messages"}),
    ("history", {"problem", "history"}),
    ("openorca", {"system_prompt", "question", "response"}),
    ("flan", {"inputs", "targets"}),
    ("superni", {"Definition", "input", "output"}),
    ("agieval", {"passage", "question", "options", "label"}),
    ("alpaca", {"instruction", "input", "output"}),
    ("alpaca", {"instruction", "output"}),
    ("bbh", {"input", "target"}),
    ("native", {"prompt"}),
)


def draft_of(fields: Mapping[str, Any], layout: Layout) -> RowDraft:
    """Return the draft of one row: the first one of a history, the last one of a conversation.

    Raises:
        Unusable: The row does not fit the layout.
    """
    return _CONVERTERS[layout](fields)


def drafts_of(fields: Mapping[str, Any], layout: Layout) -> Sequence[RowDraft]:
    """Return the drafts of one row: one, or one for each submission or turn with tools.

    Raises:
        Unusable: The row does not fit the layout.
    """
    if layout == "history":
        return _submissions(fields)
    if layout == "chat" and speaks_of_tools(_whole_conversation(fields)):
        return _tool_turns(fields)
    return (draft_of(fields, layout),)


def mapped(fields: Mapping[str, Any], columns: Columns) -> Mapping[str, Any]:
    """Return ``fields`` with the mapped columns under our own names.

    Raises:
        Unusable: A mapped column is missing.
    """
    if not columns:
        return fields
    found = dict(fields)
    for name, source in columns.items():
        if name == "meta":
            extra = {column: _column(fields, column) for column in _several(source)}
            found["meta"] = {
                **(fields["meta"] if isinstance(fields.get("meta"), dict) else {}),
                **extra,
            }
        elif isinstance(source, str):
            found[name] = _column(fields, source)
        elif name == "choices":
            found[name] = [
                value for column in source if (value := _column(fields, column)) not in (None, "")
            ]
        else:
            parts = (
                _optional_text(_column(fields, column), f"column {column!r}") for column in source
            )
            found[name] = "\n\n".join(filter(None, parts))
    return found


def _several(source: str | tuple[str, ...]) -> tuple[str, ...]:
    return (source,) if isinstance(source, str) else source


def _column(fields: Mapping[str, Any], path: str) -> Any:
    if path in fields:
        return fields[path]
    value: Any = fields
    for part in path.split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise Unusable(f"no column {path!r}; there are: {names_of(fields)}")
        value = value[part]
    return value


def _first(fields: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    for name in names:
        if (value := fields.get(name)) is not None:
            return value
    return None


def _carried(fields: Mapping[str, Any]) -> dict[str, Any]:
    own = fields.get("meta")
    meta = {name: fields[name] for name in CARRIED if fields.get(name) is not None}
    if "license" in meta:
        meta.setdefault("licence", meta.pop("license"))
    return {**meta, **(own if isinstance(own, Mapping) else {})}


def _plain(fields: Mapping[str, Any]) -> RowDraft:
    prompt_name = next((name for name in PROMPT if fields.get(name) is not None), None)
    if prompt_name is None:
        raise NoPrompt(f"no prompt among the columns {names_of(fields)}")
    return RowDraft(
        prompt=_after_context(fields, prompt_name),
        id=_first(fields, ID),
        task=_first(fields, TASK),
        choices=_first(fields, CHOICES),
        reference=_first(fields, REFERENCE),
        answer_type=fields.get("answer_type"),
        system=fields.get("system"),
        response=_first(fields, RESPONSE),
        meta=_carried(fields),
    )


def _after_context(fields: Mapping[str, Any], name: str) -> Any:
    """Return the question in the column ``name``, after the text that it is about."""
    question = fields[name]
    if name == WHOLE_PROMPT or not isinstance(question, str):
        return question
    context = _context_of(fields)
    if context is None or context.strip() in question:
        return question
    return f"{context}\n\n{question}"


def _context_of(fields: Mapping[str, Any]) -> str | None:
    found = next((fields[name] for name in CONTEXT if fields.get(name) not in (None, "")), None)
    return found if isinstance(found, str) else None


def _bbh(fields: Mapping[str, Any]) -> RowDraft:
    prompt, target = text_of(fields["input"], "input"), fields["target"]
    return RowDraft(
        prompt=prompt,
        id=_first(fields, ID),
        choices=options_in(prompt),
        reference=target,
        answer_type="list" if isinstance(target, str) and _rearranges(target, prompt) else None,
        meta=_carried(fields) | {"target_raw": target},
    )


def _rearranges(target: str, prompt: str) -> bool:
    """Return True if the target is words of the prompt in another order (word sorting)."""
    words = target.split()
    return (
        len(words) > 1
        and all(word.isalpha() for word in words)
        and set(words) <= set(prompt.split())
    )


def _agieval(fields: Mapping[str, Any]) -> RowDraft:
    parts = [_optional_text(fields.get(name), name) for name in ("passage", "question")]
    options = fields.get("options") or None
    label = fields.get("label")
    return RowDraft(
        prompt="\n\n".join(filter(None, parts)),
        id=_first(fields, ID),
        choices=[_unlettered(option) for option in options]
        if isinstance(options, list)
        else options,
        reference=label if label is not None else fields.get("answer"),
        answer_type=None if options else "math",
        meta=_carried(fields),
    )


def _unlettered(option: Any) -> Any:
    return _LABEL.sub("", option, count=1) if isinstance(option, str) else option


def _openorca(fields: Mapping[str, Any]) -> RowDraft:
    identity = fields.get("id")
    return RowDraft(
        prompt=fields["question"],
        id=identity,
        reference=fields.get("reference"),
        answer_type=fields.get("answer_type") or "free",
        system=_optional_text(fields.get("system_prompt"), "system_prompt"),
        response=fields.get("response"),
        meta=_carried(fields) | _collection(str(identity).partition(".")[0]),
    )


def _collection(name: str) -> dict[str, str]:
    known = FLAN_COLLECTIONS.get(name.lower())
    return {} if known is None else {"collection": known}


def _chat(fields: Mapping[str, Any]) -> RowDraft:
    """Return the last exchange of a conversation; earlier turns are its history."""
    system, turns, reasoning = _turns_of(fields)
    answered = bool(turns) and turns[-1][0] == "assistant"
    roles = [role for role, _ in turns[: len(turns) - answered]]
    if not roles or roles != ["user", "assistant"] * (len(roles) // 2) + ["user"]:
        by = ", ".join(role for role, _ in turns) or "nobody"
        raise Unusable(
            f"the turns of the conversation are by {by}; user and assistant must take turns, "
            "beginning with user"
        )
    last = len(roles) - 1
    history = [{"role": role, "content": text} for role, text in turns[:last]]
    reference = _first(fields, CHAT_REFERENCE)
    return RowDraft(
        prompt=turns[last][1],
        id=_first(fields, ID),
        task=_first(fields, TASK),
        choices=_first(fields, CHOICES),
        reference=reference,
        answer_type=fields.get("answer_type") or ("free" if reference is None else None),
        system="\n".join(filter(None, [_optional_text(fields.get("system"), "system"), *system])),
        response=turns[-1][1] if answered else None,
        meta=_carried(fields)
        | ({"history": history} if history else {})
        | ({"reasoning": reasoning} if reasoning else {}),
    )


def _turns_of(fields: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, str]], str]:
    """Return the system messages, the other turns as (role, text), and the answer's reasoning."""
    turns = _whole_conversation(fields)
    if (
        not turns
        or not isinstance(turns, list)
        or not all(isinstance(turn, Mapping) for turn in turns)
    ):
        raise Unusable("the conversation is not a list of turns {from, value} or {role, content}")
    system: list[str] = []
    said: list[tuple[str, str]] = []
    reasoning = ""
    for turn in turns:
        given = turn.get("from", turn.get("role"))
        role = CHAT_ROLES.get(str(given))
        if role is None:
            raise Unusable(
                f"a turn of the conversation is by {given!r:.60}; known: {', '.join(CHAT_ROLES)}"
            )
        text = _text_of_turn(turn.get("value", turn.get("content")), role)
        if role == "system":
            system.append(text)
        else:
            said.append((role, text))
            reasoning = _optional_text(turn.get("reasoning_content"), "reasoning_content")
    return system, said, reasoning


def _whole_conversation(fields: Mapping[str, Any]) -> Any:
    """Return the turns of a row; TRL keeps those of the answer in a column of their own."""
    turns = fields.get("conversations") or fields.get("messages")
    if turns is None:
        start, end = fields.get("prompt") or [], _first(fields, _CHOSEN) or []
        turns = [*start, *end] if isinstance(start, list) and isinstance(end, list) else None
    return turns


def _tool_turns(fields: Mapping[str, Any]) -> list[RowDraft]:
    """Return a draft for each turn of the assistant: asked after all that came before it.

    The results of tools are turns before it, so that they are never learned. All drafts of a
    conversation are of one source unit.
    """
    try:
        turns, tools = read_turns(_whole_conversation(fields), fields.get("tools"))
    except ValueError as error:
        raise Unusable(str(error)) from error
    system = [turn.text for turn in turns if turn.role == "system"]
    said = [turn for turn in turns if turn.role != "system"]
    if not said or said[0].role != "user":
        raise Unusable("the conversation with tools does not begin with a turn of the user")
    given, unit = _first(fields, ID), said[0].text
    answered = [i for i, turn in enumerate(said) if turn.role == "assistant"]
    drafts = []
    for number, at in enumerate(answered, 1):
        asked, answer = said[at - 1], said[at]
        history = [{"role": turn.role, "content": turn.text} for turn in said[: at - 1]]
        reference = _first(fields, CHAT_REFERENCE) if at == answered[-1] else None
        drafts.append(
            RowDraft(
                prompt=asked.text,
                id=None if given is None else f"{text_of(given, 'id')}-{number}",
                task=_first(fields, TASK),
                reference=reference,
                answer_type=(None if reference is not None else "free"),
                system="\n".join(
                    filter(None, [_optional_text(fields.get("system"), "system"), *system])
                ),
                response=answer.text,
                meta=_carried(fields)
                | {"source_unit": unit if given is None else text_of(given, "id")}
                | {DEFINITIONS: tools}
                | ({SPEAKER: "tool"} if asked.role == "tool" else {})
                | ({"history": history} if history else {})
                | ({"reasoning": answer.reasoning} if answer.reasoning else {}),
            )
        )
    return drafts


def _text_of_turn(content: Any, role: str) -> str:
    """Return the text of a turn, which may come in typed parts."""
    if not isinstance(content, list):
        return _optional_text(content, f"turn of {role}")
    texts = []
    for part in content:
        kind = part.get("type", "text") if isinstance(part, Mapping) else None
        if kind != "text":
            raise Unusable(f"a turn of {role} holds a part of type {kind!r:.40}; only text is read")
        texts.append(_optional_text(part.get("text"), f"turn of {role}"))
    return "\n".join(filter(None, texts))


def _is_turns(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)


def _alpaca(fields: Mapping[str, Any]) -> RowDraft:
    parts = [
        _optional_text(fields["instruction"], "instruction"),
        _optional_text(fields.get("input"), "input"),
    ]
    return RowDraft(
        prompt="\n\n".join(filter(None, parts)),
        id=_first(fields, ID),
        task=_first(fields, TASK),
        choices=_first(fields, CHOICES),
        reference=fields.get("reference", fields["output"]),
        answer_type=fields.get("answer_type"),
        system=_optional_text(fields.get("system"), "system"),
        response=_optional_text(fields["output"], "output"),
        meta=_carried(fields) | _alpaca_history(fields.get("history")),
    )


def _alpaca_history(value: Any) -> dict[str, Any]:
    """Return the earlier exchanges of a row, which LLaMA-Factory keeps as pairs of texts."""
    if not value:
        return {}
    if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value):
        raise Unusable("the history is not a list of pairs [instruction, answer]")
    turns = [
        {"role": role, "content": text_of(text, f"{role} in history")}
        for pair in value
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    return {"history": turns}


def _flan(fields: Mapping[str, Any]) -> RowDraft:
    """Return a row of the FLAN-v2 collection.

    Orca used zero-shot queries only, so few-shot templates are refused.
    """
    template = str(fields.get("template_type", fields.get("_template_type", "")) or "")
    if template.startswith("fs"):
        raise Unusable(
            f"a few-shot template ({template}); only zero-shot queries are used (Orca, section 3.1)"
        )
    source = str(fields.get("task_source", fields.get("_task_source", "")) or "")
    prompt, target = text_of(fields["inputs"], "inputs"), fields["targets"]
    options = options_in(prompt)
    return RowDraft(
        prompt=prompt,
        id=_first(fields, ID),
        task=fields.get("task_name", fields.get("_task_name", fields.get("task"))),
        choices=options,
        reference=target,
        meta=_carried(fields) | _collection(source) | ({"template": template} if template else {}),
    )


def _superni(fields: Mapping[str, Any]) -> RowDraft:
    definition = fields["Definition"]
    lines = definition if isinstance(definition, list) else [definition]
    text = "\n".join(text_of(line, "Definition") for line in lines)
    return RowDraft(
        prompt=f"{text}\n\n{_optional_text(fields['input'], 'input')}",
        id=_first(fields, ID),
        reference=fields["output"],
        meta=_carried(fields) | {"collection": "niv2", "definition": text},
    )


CODE = ("code", "submission", "attempt", "text")
FEEDBACK = ("feedback", "message", "comment")
"""Where a submission of a history keeps its code, and what was said of it."""


def _submissions(fields: Mapping[str, Any]) -> list[RowDraft]:
    """Return a draft for each submission: asked after the problem and all that came before it.

    The feedback is a turn of the user, so that it is never learned. All drafts of a history are of
    one source unit.
    """
    problem, history = text_of(fields["problem"], "problem"), fields["history"]
    if not isinstance(history, list) or not history:
        raise Unusable("the history is not a list of submissions {code, feedback}")
    tests = fields.get("tests")
    asserts = [tests] if isinstance(tests, str) else tests or []
    given = _first(fields, ID)
    unit = text_of(given, "id") if given is not None else problem
    turns = [{"role": "user", "content": problem}]
    drafts = []
    for number, submission in enumerate(history, 1):
        if not isinstance(submission, Mapping):
            raise Unusable(f"submission {number} is not an object {{code, feedback}}")
        code = text_of(_first(submission, CODE), f"code of submission {number}")
        meta = {
            "source_unit": unit,
            "submission": number,
            "next_submission": code,
            **({} if (score := submission.get("score")) is None else {"score": score}),
            **({"tests": asserts} if asserts else {}),
        }
        drafts.append(
            RowDraft(
                prompt=turns[-1]["content"],
                id=None if given is None else f"{unit}-{number}",
                task=_first(fields, TASK),
                reference="\n".join(asserts) or None,
                answer_type="program" if asserts else "free",
                system=_optional_text(fields.get("system"), "system"),
                response=code,
                meta=_carried(fields) | meta | ({"history": turns[:-1]} if len(turns) > 1 else {}),
            )
        )
        feedback = _optional_text(_first(submission, FEEDBACK), f"feedback on {number}")
        if not feedback and number < len(history):
            raise Unusable(f"submission {number} has no feedback, and another one follows it")
        turns = [
            *turns,
            {"role": "assistant", "content": code},
            {"role": "user", "content": feedback},
        ]
    return drafts


_SAME_EVERYWHERE = (("id", ID), *(("meta", (name,)) for name in (*CARRIED, "meta")))
_TYPED = (("answer_type", ("answer_type",)), ("task", TASK))
_TURNS = ("conversations", "messages", "prompt", "chosen")
_ANSWER_TURNS = ("conversations", "messages", "completion", "chosen")
_BY_NAME = (
    ("prompt", PROMPT),
    ("choices", CHOICES),
    ("reference", REFERENCE),
    ("system", ("system",)),
)
_READ: Mapping[Layout, tuple[tuple[str, tuple[str, ...]], ...]] = {
    "native": (*_BY_NAME, *_TYPED, ("response", RESPONSE)),
    "plain": (("prompt", CONTEXT), *_BY_NAME, *_TYPED, ("response", RESPONSE)),
    "bbh": (("prompt", ("input",)), ("choices", ("input",)), ("reference", ("target",))),
    "agieval": (
        ("prompt", ("passage",)),
        ("prompt", ("question",)),
        ("choices", ("options",)),
        ("reference", ("label", "answer")),
    ),
    "openorca": (
        ("prompt", ("question",)),
        ("reference", ("reference",)),
        ("answer_type", ("answer_type",)),
        ("system", ("system_prompt",)),
        ("response", ("response",)),
    ),
    "chat": (
        ("prompt", _TURNS),
        ("choices", CHOICES),
        ("reference", CHAT_REFERENCE),
        ("system", ("system",)),
        ("system", _TURNS),
        ("response", _ANSWER_TURNS),
        ("meta", ("tools",)),
        *_TYPED,
    ),
    "alpaca": (
        ("prompt", ("instruction",)),
        ("prompt", ("input",)),
        ("choices", CHOICES),
        ("reference", ("reference", "output")),
        ("system", ("system",)),
        ("response", ("output",)),
        ("meta", ("history",)),
        *_TYPED,
    ),
    "flan": (
        ("prompt", ("inputs",)),
        ("choices", ("inputs",)),
        ("reference", ("targets",)),
        ("task", ("task_name", "_task_name", "task")),
        ("meta", ("template_type", "_template_type")),
        ("meta", ("task_source", "_task_source")),
    ),
    "superni": (("prompt", ("Definition",)), ("prompt", ("input",)), ("reference", ("output",))),
    "history": (
        ("prompt", ("problem",)),
        ("reference", ("tests",)),
        ("system", ("system",)),
        ("response", ("history",)),
        *_TYPED,
    ),
}
"""For each layout, the parts of a RowDraft and the columns that each may come from.

Of these columns the first that is not empty is read. A part that is listed twice is joined from
both columns. This only describes what the converters above do: a test changes each column of a row
and checks which part changes."""


def columns_read(
    fields: Mapping[str, Any], layout: Layout, draft: RowDraft, columns: Columns
) -> dict[str, tuple[str, ...]]:
    """Return the columns of a row that each part of its ``draft`` came from.

    Args:
        fields: The row as the file has it.
        layout: The layout in which it was read.
        draft: Its draft.
        columns: The recipe's mapping.
    """
    own = mapped(fields, columns)
    found: dict[str, tuple[str, ...]] = {}
    for part, alternatives in (*_READ[layout], *_SAME_EVERYWHERE):
        name = next((name for name in alternatives if own.get(name) not in (None, "")), None)
        if name is not None and (part == "meta" or getattr(draft, part) not in (None, "")):
            found[part] = (*found.get(part, ()), *_several(columns.get(name, name)))
    return found


_CONVERTERS: Mapping[Layout, Callable[[Mapping[str, Any]], RowDraft]] = {
    "native": _plain,
    "plain": _plain,
    "bbh": _bbh,
    "agieval": _agieval,
    "openorca": _openorca,
    "chat": _chat,
    "alpaca": _alpaca,
    "flan": _flan,
    "superni": _superni,
    "history": lambda fields: _submissions(fields)[0],
}

_LABEL = re.compile(r"^\s*\(?([A-Za-z])[).:]\s*")
_OPTION_LINE = re.compile(r"\s*\(?([A-Z])[).:](.*)")
_OPTIONS_CUE = re.compile(
    r"^[^\S\n]*(?:options|answer choices|choices|choose from)[^\S\n]*[-:]?[^\S\n]*$",
    re.IGNORECASE | re.MULTILINE,
)


def options_in(prompt: str) -> list[str] | None:
    """Return the lettered options at the end of a prompt, in order; None if there are none."""
    cues = list(_OPTIONS_CUE.finditer(prompt))
    lines = prompt[cues[-1].end() :].strip("\n").splitlines() if cues else []
    found = [match for line in lines if (match := _OPTION_LINE.match(line))]
    letters = [match.group(1) for match in found]
    if len(found) < 2 or letters != [chr(ord("A") + i) for i in range(len(found))]:
        return None
    return [match.group(2).strip() for match in found]
