r"""Keep tool calls in the text of a conversation, and give them the form that a reader wants.

    Message(role="tools", content='[{"name": "add", "parameters": {…}}]')     what may be called
    Message(role="user", content="What is 2 + 3?")
    Message(role="assistant",
            content='<tool_call>\n{"name": "add", "arguments": {"a": 2, "b": 3}}\n</tool_call>')
    Message(role="tool", content="5")                                          what came back

A turn of the assistant is its words and then its calls, as Hermes and Qwen write them. Only a
conversation with a turn of ``tools`` has calls: elsewhere such a text is a text.
"""

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import count
from typing import Any

from orcinus.core.types import Example, Message, Messages

Call = Mapping[str, Any]
"""A call: ``name`` and ``arguments``, an object."""
DEFINITIONS = "tool_definitions"
"""Where ``Example.meta`` keeps what may be called: ``[{name, description, parameters}, …]``."""
SPEAKER = "prompt_role"
"""Where ``Example.meta`` says that the prompt is the result of a call: ``tool``."""
_CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)


def has_tools(messages: Messages) -> bool:
    """Return whether the assistant of a conversation may call tools."""
    return "tools" in [message.role for message in messages]


def with_calls(text: str, calls: Sequence[Call]) -> str:
    """Return a turn of the assistant: its words, then its calls."""
    blocks = (f"<tool_call>\n{as_json(dict(call))}\n</tool_call>" for call in calls)
    return "\n".join(filter(None, (text.rstrip(), *blocks)))


def split_calls(content: str) -> tuple[str, list[Call]]:
    """Return the words and the calls of a turn; it has no calls if one of them cannot be read."""
    at = _find_calls(content) if content.rstrip().endswith("</tool_call>") else None
    calls = [] if at is None else [_read_call(text) for text in _CALL.findall(content, at)]
    if at is None or not all(calls):
        return content, []
    return content[:at], [call for call in calls if call is not None]


def _find_calls(content: str) -> int | None:
    """Return where the words of a turn end: before its first call that begins a line."""
    for mark in re.finditer("<tool_call>", content):
        words = len(content[: mark.start()].rstrip())
        at = content.find("\n", words, mark.start()) if words else 0
        if at >= 0:
            return at
    return None


def _read_call(text: str) -> Call | None:
    try:
        call = parse_json(text)
    except ValueError:
        return None
    known = isinstance(call, dict) and set(call) == {"name", "arguments"}
    if known and isinstance(call["name"], str) and isinstance(call["arguments"], dict):
        return dict(call)
    return None


def read_calls(given: Any) -> list[dict[str, Any]]:
    """Return the calls in an endpoint's ``tool_calls``; those that are none are left out.

    Arguments that are no JSON object stay as they are, and nobody takes that for a call.
    """
    calls = []
    for item in given if isinstance(given, list) else ():
        call = function_in(item)
        arguments = call.get("arguments", call.get("parameters"))
        if isinstance(arguments, str):
            with suppress(ValueError):
                arguments = parse_json(arguments)
        if isinstance(call.get("name"), str):
            calls.append({"name": call["name"], "arguments": arguments})
    return calls


def function_in(item: Any) -> Mapping[str, Any]:
    """Return the object that names a function: an item's ``function``, or the item itself."""
    inner = item.get("function") if isinstance(item, Mapping) else None
    found = item if inner is None else inner
    return found if isinstance(found, Mapping) else {}


def parse_json(text: str) -> Any:
    """Return the value of a JSON text.

    Raises:
        ValueError: It is not JSON, is nested too deeply, or has half a character.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if "\\u" in text:
        as_json(value).encode()  # half a surrogate pair is a UnicodeEncodeError, a ValueError
    return value


def as_json(value: Any) -> str:
    """Return a value as chat templates write it: one line, blanks after commas and colons.

    What JSON has no form for, such as a date of a Parquet file, becomes its text.
    """
    return json.dumps(value, ensure_ascii=False, default=str)


def definitions_of(meta: Mapping[str, Any]) -> list[Any]:
    """Return what may be called; nothing where a row's own ``meta`` has something else there."""
    tools = meta.get(DEFINITIONS)
    return tools if isinstance(tools, list) and all(isinstance(t, Mapping) for t in tools) else []


def tool_messages(example: Example) -> Messages:
    """Return the turn that says what may be called; none for an example without tools."""
    tools = definitions_of(example.meta)
    return (Message(role="tools", content=as_json(tools)),) if tools else ()


def definitions_in(messages: Messages) -> list[dict[str, Any]]:
    """Return what may be called, as endpoints and templates read it."""
    return [
        {"type": "function", "function": tool}
        for message in messages
        if message.role == "tools"
        for tool in json.loads(message.content)
    ]


def as_turns(messages: Messages, *, arguments_as_text: bool) -> list[dict[str, Any]]:
    """Return the turns of a conversation as endpoints and templates read them.

    Args:
        messages: The conversation.
        arguments_as_text: As endpoints want it; False gives objects, as templates want them.
    """
    if not has_tools(messages):
        return [{"role": message.role, "content": message.content} for message in messages]
    numbers, open_calls = count(), list[tuple[str, str]]()
    turns: list[dict[str, Any]] = []
    for message in messages:
        turn: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.role == "assistant":
            turn["content"], calls = split_calls(message.content)
            # Nine letters and digits: Mistral's templates take no other id.
            open_calls = [(f"call{next(numbers):05d}", call["name"]) for call in calls]
            functions = (
                {
                    "name": call["name"],
                    "arguments": as_json(call["arguments"])
                    if arguments_as_text
                    else call["arguments"],
                }
                for call in calls
            )
            if calls:
                turn["tool_calls"] = [
                    {"id": identity, "type": "function", "function": function}
                    for (identity, _), function in zip(open_calls, functions, strict=True)
                ]
        elif message.role == "tool" and open_calls:
            turn["tool_call_id"], turn["name"] = open_calls.pop(0)
        if message.role != "tools":
            turns.append(turn)
    return turns


def as_plain_text(messages: Messages) -> Messages:
    """Return a conversation that any reader shows: calls, results and definitions are texts.

    The definitions follow the system message. Results that follow each other are one turn of the
    user.
    """
    if not has_tools(messages):
        return messages
    told, system = "", ""
    turns: list[Message] = []
    results: list[str] = []
    for message in (*messages, Message(role="user", content="")):
        if message.role == "tool":
            results.append(f"<tool_response>\n{message.content}\n</tool_response>")
            continue
        if results:
            turns.append(Message(role="user", content="\n".join(results)))
            results = []
        if message.role == "tools":
            told = _told(json.loads(message.content))
        elif message.role in ("system", "developer") and not turns:
            system = message.content
        else:
            turns.append(message)
    said = "\n\n".join(filter(None, (system, told)))
    return (*([Message(role="system", content=said)] if said else []), *turns[:-1])


def _told(tools: Sequence[Mapping[str, Any]]) -> str:
    """Return what may be called, and how, in words."""
    lines = "\n".join(map(as_json, tools))
    return (
        f"You may call these functions:\n{lines}\n\nTo call one, end your turn with\n"
        '<tool_call>\n{"name": …, "arguments": {…}}\n</tool_call>'
    )
