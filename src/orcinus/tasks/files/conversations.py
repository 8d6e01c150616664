"""Convert conversations: ShareGPT, messages, and the pairs of columns that TRL keeps.

    {"messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]}
        →  RowDraft(prompt="2 + 2?", response="4")

A conversation without tools gives its last exchange. One with tools gives a draft for each turn of
the assistant.
"""

from collections.abc import Mapping
from typing import Any

from orcinus.core.tool_calls import DEFINITIONS, SPEAKER
from orcinus.tasks.files.drafts import (
    CHAT_REFERENCE,
    CHOICES,
    ID,
    TASK,
    RowDraft,
    Unusable,
    carried_in,
    first_of,
    optional_text,
    text_of,
)
from orcinus.tasks.files.tool_turns import CHAT_ROLES, read_turns

_CHOSEN = ("completion", "chosen")
"""Where TRL's layouts keep the turns of the answer."""


def conversation_of(fields: Mapping[str, Any]) -> RowDraft:
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
    reference = first_of(fields, CHAT_REFERENCE)
    return RowDraft(
        prompt=turns[last][1],
        id=first_of(fields, ID),
        task=first_of(fields, TASK),
        choices=first_of(fields, CHOICES),
        reference=reference,
        answer_type=fields.get("answer_type") or ("free" if reference is None else None),
        system="\n".join(filter(None, [optional_text(fields.get("system"), "system"), *system])),
        response=turns[-1][1] if answered else None,
        meta=carried_in(fields)
        | ({"history": history} if history else {})
        | ({"reasoning": reasoning} if reasoning else {}),
    )


def _turns_of(fields: Mapping[str, Any]) -> tuple[list[str], list[tuple[str, str]], str]:
    """Return the system messages, the other turns as (role, text), and the answer's reasoning."""
    turns = whole_conversation(fields)
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
            reasoning = optional_text(turn.get("reasoning_content"), "reasoning_content")
    return system, said, reasoning


def whole_conversation(fields: Mapping[str, Any]) -> Any:
    """Return the turns of a row; TRL keeps those of the answer in a column of their own."""
    turns = fields.get("conversations") or fields.get("messages")
    if turns is None:
        start, end = fields.get("prompt") or [], first_of(fields, _CHOSEN) or []
        turns = [*start, *end] if isinstance(start, list) and isinstance(end, list) else None
    return turns


def tool_turns_of(fields: Mapping[str, Any]) -> list[RowDraft]:
    """Return a draft for each turn of the assistant: asked after all that came before it.

    The results of tools are turns before it, so that they are never learned. All drafts of a
    conversation are of one source unit.
    """
    try:
        turns, tools = read_turns(whole_conversation(fields), fields.get("tools"))
    except ValueError as error:
        raise Unusable(str(error)) from error
    system = [turn.text for turn in turns if turn.role == "system"]
    said = [turn for turn in turns if turn.role != "system"]
    if not said or said[0].role != "user":
        raise Unusable("the conversation with tools does not begin with a turn of the user")
    given, unit = first_of(fields, ID), said[0].text
    answered = [i for i, turn in enumerate(said) if turn.role == "assistant"]
    drafts = []
    for number, at in enumerate(answered, 1):
        asked, answer = said[at - 1], said[at]
        history = [{"role": turn.role, "content": turn.text} for turn in said[: at - 1]]
        reference = first_of(fields, CHAT_REFERENCE) if at == answered[-1] else None
        drafts.append(
            RowDraft(
                prompt=asked.text,
                id=None if given is None else f"{text_of(given, 'id')}-{number}",
                task=first_of(fields, TASK),
                reference=reference,
                answer_type=(None if reference is not None else "free"),
                system="\n".join(
                    filter(None, [optional_text(fields.get("system"), "system"), *system])
                ),
                response=answer.text,
                meta=carried_in(fields)
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
        return optional_text(content, f"turn of {role}")
    texts = []
    for part in content:
        kind = part.get("type", "text") if isinstance(part, Mapping) else None
        if kind != "text":
            raise Unusable(f"a turn of {role} holds a part of type {kind!r:.40}; only text is read")
        texts.append(optional_text(part.get("text"), f"turn of {role}"))
    return "\n".join(filter(None, texts))


def is_conversation(value: Any) -> bool:
    """Return whether a column holds turns, and not a text."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], Mapping)
