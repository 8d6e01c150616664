r"""Convert rows of known layouts, public and private, to drafts of examples.

    BIG-Bench Hard  {"input": "Which statement is …\\nOptions:\\n(A) …", "target": "(A)"}
    AGIEval         {"passage": …, "question": …, "options": ["(A)…", …], "label": "C"}
    OpenOrca        {"id": "niv2.242684", "system_prompt": …, "question": …, "response": …}
    anything else   {"question": …, "choices": […], "answer": …}, or as the recipe's ``columns`` say

The names of a row's fields show its layout. Each RowDraft later becomes an Example
(``examples.py``).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orcinus.tasks.config import Layout
from orcinus.tasks.files.conversations import (
    conversation_of,
    is_conversation,
    tool_turns_of,
    whole_conversation,
)
from orcinus.tasks.files.drafts import (
    CARRIED,
    CHAT_REFERENCE,
    CHOICES,
    CONTEXT,
    ID,
    PROMPT,
    REFERENCE,
    RESPONSE,
    TASK,
    WHOLE_PROMPT,
    NoPrompt,
    RowDraft,
    Unusable,
    carried_in,
    first_of,
    names_of,
    optional_text,
    options_in,
    text_of,
)
from orcinus.tasks.files.submissions import submissions_of
from orcinus.tasks.files.tool_turns import speaks_of_tools

Columns = Mapping[str, str | tuple[str, ...]]

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
FLAN_COLLECTIONS = {
    "cot": "cot",
    "niv2": "niv2",
    "t0": "t0",
    "flan": "flan2021",
    "flan2021": "flan2021",
    "dialog": "dialog",
}


def layout_of(fields: Mapping[str, Any]) -> Layout:
    """Return the layout of a row, from the names of its fields."""
    names = set(fields)
    if is_conversation(fields.get("prompt")) or (
        "prompt" not in names and is_conversation(fields.get("chosen"))
    ):
        return "chat"
    for layout, needed in _SIGNS:
        if needed <= names:
            return layout
    return "plain"


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
        return submissions_of(fields)
    if layout == "chat" and speaks_of_tools(whole_conversation(fields)):
        return tool_turns_of(fields)
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
                optional_text(_column(fields, column), f"column {column!r}") for column in source
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


def _plain(fields: Mapping[str, Any]) -> RowDraft:
    prompt_name = next((name for name in PROMPT if fields.get(name) is not None), None)
    if prompt_name is None:
        raise NoPrompt(f"no prompt among the columns {names_of(fields)}")
    return RowDraft(
        prompt=_after_context(fields, prompt_name),
        id=first_of(fields, ID),
        task=first_of(fields, TASK),
        choices=first_of(fields, CHOICES),
        reference=first_of(fields, REFERENCE),
        answer_type=fields.get("answer_type"),
        system=fields.get("system"),
        response=first_of(fields, RESPONSE),
        meta=carried_in(fields),
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
        id=first_of(fields, ID),
        choices=options_in(prompt),
        reference=target,
        answer_type="list" if isinstance(target, str) and _rearranges(target, prompt) else None,
        meta=carried_in(fields) | {"target_raw": target},
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
    parts = [optional_text(fields.get(name), name) for name in ("passage", "question")]
    options = fields.get("options") or None
    label = fields.get("label")
    return RowDraft(
        prompt="\n\n".join(filter(None, parts)),
        id=first_of(fields, ID),
        choices=[_unlettered(option) for option in options]
        if isinstance(options, list)
        else options,
        reference=label if label is not None else fields.get("answer"),
        answer_type=None if options else "math",
        meta=carried_in(fields),
    )


_LABEL = re.compile(r"^\s*\(?([A-Za-z])[).:]\s*")


def _unlettered(option: Any) -> Any:
    return _LABEL.sub("", option, count=1) if isinstance(option, str) else option


def _openorca(fields: Mapping[str, Any]) -> RowDraft:
    identity = fields.get("id")
    return RowDraft(
        prompt=fields["question"],
        id=identity,
        reference=fields.get("reference"),
        answer_type=fields.get("answer_type") or "free",
        system=optional_text(fields.get("system_prompt"), "system_prompt"),
        response=fields.get("response"),
        meta=carried_in(fields) | _collection(str(identity).partition(".")[0]),
    )


def _collection(name: str) -> dict[str, str]:
    known = FLAN_COLLECTIONS.get(name.lower())
    return {} if known is None else {"collection": known}


def _alpaca(fields: Mapping[str, Any]) -> RowDraft:
    parts = [
        optional_text(fields["instruction"], "instruction"),
        optional_text(fields.get("input"), "input"),
    ]
    return RowDraft(
        prompt="\n\n".join(filter(None, parts)),
        id=first_of(fields, ID),
        task=first_of(fields, TASK),
        choices=first_of(fields, CHOICES),
        reference=fields.get("reference", fields["output"]),
        answer_type=fields.get("answer_type"),
        system=optional_text(fields.get("system"), "system"),
        response=optional_text(fields["output"], "output"),
        meta=carried_in(fields) | _alpaca_history(fields.get("history")),
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
        id=first_of(fields, ID),
        task=fields.get("task_name", fields.get("_task_name", fields.get("task"))),
        choices=options,
        reference=target,
        meta=carried_in(fields)
        | _collection(source)
        | ({"template": template} if template else {}),
    )


def _superni(fields: Mapping[str, Any]) -> RowDraft:
    definition = fields["Definition"]
    lines = definition if isinstance(definition, list) else [definition]
    text = "\n".join(text_of(line, "Definition") for line in lines)
    return RowDraft(
        prompt=f"{text}\n\n{optional_text(fields['input'], 'input')}",
        id=first_of(fields, ID),
        reference=fields["output"],
        meta=carried_in(fields) | {"collection": "niv2", "definition": text},
    )


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
    "chat": conversation_of,
    "alpaca": _alpaca,
    "flan": _flan,
    "superni": _superni,
    "history": lambda fields: submissions_of(fields)[0],
}
