r"""Read the turns of a conversation whose assistant calls tools.

    OpenAI         {"role": "assistant", "tool_calls": [{"function": {"name": "add", …}}]}
    LLaMA-Factory  {"from": "function_call", "value": "{\"name\": \"add\", \"arguments\": {…}}"}
    Hermes         {"from": "gpt", "value": "<tool_call>{…}</tool_call>"}

All become turns as ``core/tool_calls.py`` has them. What does not fit is a ``ValueError``.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orcinus.core.tool_calls import (
    Call,
    as_json,
    function_in,
    parse_json,
    read_calls,
    split_calls,
    with_calls,
)

CHAT_ROLES = {
    "system": "system",
    "developer": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
}
"""Who speaks in a turn, by the names that data sets have for it."""
_SPEAKERS = {
    **CHAT_ROLES,
    "function_call": "assistant",
    "tool_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
    "function_response": "tool",
    "tool_response": "tool",
}
_CALLING = ("function_call", "tool_call")
"""Speakers whose text is a call, as JSON."""
_OF_TOOLS = {*_CALLING, *(name for name, role in _SPEAKERS.items() if role == "tool")}
_RESPONSE = re.compile(r"<tool_response>\s*(.*?)\s*</tool_response>", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A turn of a conversation with tools."""

    role: str
    """``system``, ``user``, ``assistant`` or ``tool``."""
    text: str
    """Words; after those of the assistant its calls."""
    reasoning: str = ""
    """The separate reasoning of the assistant."""


def speaks_of_tools(turns: Any) -> bool:
    """Return whether a tool speaks or is called in a row's turns."""
    return isinstance(turns, list) and any(
        isinstance(turn, Mapping) and (_speaker(turn) in _OF_TOOLS or turn.get("tool_calls"))
        for turn in turns
    )


def read_turns(turns: Sequence[Any], tools: Any) -> tuple[list[Turn], list[Call]]:
    """Return the turns of a row, and what may be called.

    Args:
        turns: As the row has them.
        tools: What may be called, as the row has it: a list, or its JSON.

    Raises:
        ValueError: Something is missing, or contradicts something else.
    """
    definitions = _definitions(tools)
    known = {tool["name"] for tool in definitions}
    found: list[Turn] = []
    waiting: dict[Any, str | None] = {}  # the calls of the last turn, with their results
    for number, turn in enumerate(turns, 1):
        role = _SPEAKERS.get(_speaker(turn)) if isinstance(turn, Mapping) else None
        if role is None:
            raise ValueError(
                f"turn {number} is by {_speaker(turn)!r:.60}; known: {', '.join(_SPEAKERS)}"
            )
        before = found[-1].role if found else "system"
        if role == "tool":
            _take_results(turn, number, waiting)
            if waiting and None not in waiting.values():
                found += (Turn(role=role, text=text or "") for text in waiting.values())
                waiting = {}
            continue
        if waiting:
            raise ValueError(f"turn {number} comes before the results of the calls before it")
        if role == "assistant":
            words, calls, ids = _said(turn, number)
            if unknown := [call["name"] for call in calls if call["name"] not in known]:
                raise ValueError(
                    f"turn {number} calls {unknown[0]!r:.60}, which the tools do not define"
                )
            if before not in ("user", "tool"):
                raise ValueError(f"turn {number} is by the assistant, and so is the one before it")
            waiting = dict.fromkeys(ids)
            reasoning = str(turn.get("reasoning_content") or "")
            found.append(Turn(role=role, text=with_calls(words, calls), reasoning=reasoning))
        else:
            found.append(Turn(role=role, text=_text(turn)))
    if waiting and any(text is not None for text in waiting.values()):
        raise ValueError("the last call has fewer results than it made calls")
    return found, definitions


def _speaker(turn: Any) -> str:
    return str(turn.get("from", turn.get("role"))) if isinstance(turn, Mapping) else str(turn)


def _text(turn: Mapping[str, Any]) -> str:
    content = turn.get("value", turn.get("content"))
    if content is None or isinstance(content, str):
        return content or ""
    if isinstance(content, list) and all(
        isinstance(part, Mapping) and part.get("type") == "text" for part in content
    ):
        return "\n".join(str(part.get("text") or "") for part in content)
    return as_json(content)


def _take_results(turn: Mapping[str, Any], number: int, waiting: dict[Any, str | None]) -> None:
    """Put the results in a turn beside their calls: by their ids, or in order.

    Raises:
        ValueError: Nobody made such a call.
    """
    text = _text(turn)
    for result in _RESPONSE.findall(text) or [text]:
        free = [identity for identity, known in waiting.items() if known is None]
        if not free:
            raise ValueError(f"turn {number} is the result of a call that nobody made")
        given = str(turn.get("tool_call_id"))
        waiting[given if given in free else free[0]] = result


def _said(turn: Mapping[str, Any], number: int) -> tuple[str, list[dict[str, Any]], list[Any]]:
    """Return the words of the assistant, its calls, and the ids of its calls."""
    text = _text(turn)
    if _speaker(turn) in _CALLING:
        called = _parse(text, f"the call of turn {number}")
        words, given = "", called if isinstance(called, list) else [called]
    else:
        words, written = split_calls(text)
        called = turn.get("tool_calls") or []
        called = (
            _parse(called, f"tool_calls of turn {number}") if isinstance(called, str) else called
        )
        if not isinstance(called, list):
            raise ValueError(f"tool_calls of turn {number} is no list: {called!r:.80}")
        given = [*written, *called]
    calls = read_calls(given)
    if len(calls) < len(given) or not all(isinstance(c["arguments"], dict) for c in calls):
        raise ValueError(f"a call of turn {number} is not {{name, arguments}}: {given!r:.80}")
    ids = [item.get("id") for item in given]
    own = [str(i) if i and ids.count(i) == 1 else place for place, i in enumerate(ids)]
    return words, calls, own


def _definitions(tools: Any) -> list[Call]:
    """Return what may be called as ``{name, description, parameters}`` each."""
    given = _parse(tools, "the column tools") if isinstance(tools, str) else tools
    found: list[Call] = []
    for item in given if isinstance(given, list) else ():
        item = _parse(item, "a tool") if isinstance(item, str) else item
        tool = function_in(item)
        if not isinstance(tool.get("name"), str):
            raise ValueError(f"a tool has no name: {item!r:.60}")
        found.append(dict(tool))
    if not found:
        raise ValueError(
            "the assistant calls tools, and no column `tools` says which there are; "
            "give each row a list of {name, description, parameters}"
        )
    return found


def _parse(text: str, what: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise ValueError(f"{what} is not valid JSON ({error}): {text:.60}") from None
