"""Lessons whose assistant calls tools: read, rendered, learned and exported; results never learned.

The two chat templates with tools are in the style of Qwen 2.5 and of Llama 3.1.
"""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from transformers import AutoTokenizer

from orcinus.core.errors import ConfigError, DataError
from orcinus.core.tool_calls import as_plain_text, split_calls, with_calls
from orcinus.core.types import (
    Attempt,
    Example,
    Judged,
    Lesson,
    Message,
    Messages,
    Sampling,
    Usage,
    Verdict,
)
from orcinus.lessons.config import EraseConfig
from orcinus.lessons.erase import lesson_of
from orcinus.lessons.export import LAYOUTS
from orcinus.models.local.chat_format import Chat
from orcinus.models.remote.endpoint import _as_turns
from orcinus.models.remote.replies import _parse_choice
from orcinus.strategies.library import resolve
from orcinus.strategies.prompts import ask, conversation
from orcinus.tasks.config import RecordsConfig
from orcinus.tasks.files.records import read_task

ADD = {"name": "add", "description": "The sum.", "parameters": {"type": "object"}}
TOOLS = [{"type": "function", "function": ADD}]


def call_of(a: int, b: int, identity: str) -> dict[str, Any]:
    arguments = json.dumps({"a": a, "b": b})
    return {"id": identity, "type": "function", "function": {"name": "add", "arguments": arguments}}


ROW: dict[str, Any] = {
    "id": "sum",
    "tools": TOOLS,
    "messages": [
        {"role": "system", "content": "You can add."},
        {"role": "user", "content": "What is 2 + 3, and 4 + 5?"},
        {
            "role": "assistant",
            "content": "Both at once.",
            "tool_calls": [call_of(2, 3, "x"), call_of(4, 5, "y")],
        },
        {"role": "tool", "tool_call_id": "y", "content": "NINE"},
        {"role": "tool", "tool_call_id": "x", "content": "FIVE"},
        {"role": "assistant", "content": None, "tool_calls": [call_of(5, 9, "z")]},
        {"role": "tool", "tool_call_id": "z", "content": "FOURTEEN"},
        {"role": "assistant", "content": "5 and 9, together 14."},
    ],
}
QWEN = (
    "{% if tools %}<|im_start|>system\n{% if messages[0].role == 'system' %}"
    "{{ messages[0].content + '\n\n' }}{% endif %}# Tools\n<tools>"
    "{% for tool in tools %}{{ '\n' + tool | tojson }}{% endfor %}\n</tools><|im_end|>\n"
    "{% elif messages[0].role == 'system' %}<|im_start|>system\n{{ messages[0].content }}"
    "<|im_end|>\n{% endif %}"
    "{% for m in messages %}"
    "{% if m.role == 'user' or (m.role == 'assistant' and not m.tool_calls) %}"
    "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
    "{% elif m.role == 'assistant' %}<|im_start|>assistant"
    "{% if m.content %}{{ '\n' + m.content }}{% endif %}"
    '{% for call in m.tool_calls %}{{ \'\n<tool_call>\n{"name": "\' + call.function.name }}'
    "{{ '\", \"arguments\": ' + call.function.arguments | tojson + '}\n</tool_call>' }}"
    "{% endfor %}<|im_end|>\n"
    "{% elif m.role == 'tool' %}"
    "{% if messages[loop.index0 - 1].role != 'tool' %}<|im_start|>user{% endif %}"
    "{{ '\n<tool_response>\n' + m.content + '\n</tool_response>' }}"
    "{% if loop.last or messages[loop.index0 + 1].role != 'tool' %}<|im_end|>\n{% endif %}"
    "{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
LLAMA = (
    "{{ bos_token }}{% for m in messages %}{% if m.tool_calls %}"
    "{% if m.tool_calls | length > 1 %}{{ raise_exception('Only one call at once!') }}{% endif %}"
    "<|start_header_id|>assistant<|end_header_id|>\n\n"
    "{{ m.tool_calls[0].function | tojson }}<|eot_id|>"
    "{% elif m.role == 'tool' %}<|start_header_id|>ipython<|end_header_id|>\n\n"
    "{{ {'output': m.content} | tojson }}<|eot_id|>"
    "{% else %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content }}<|eot_id|>"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant"
    "<|end_header_id|>\n\n{% endif %}"
)
TEMPLATES = {
    "qwen 2.5": (QWEN, ("<|im_start|>", "<|im_end|>"), "<|im_end|>"),
    "llama 3.1": (LLAMA, ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), "<|eot_id|>"),
    "no tools": (
        "{% for m in messages %}{% if m.role not in ('user', 'assistant') %}"
        "{{ raise_exception('Only user and assistant!') }}{% endif %}"
        "<s>{{ m.role }}: {{ m.content }}</s>\n{% endfor %}"
        "{% if add_generation_prompt %}<s>assistant: {% endif %}",
        ("<s>", "</s>"),
        "</s>",
    ),
}


@pytest.fixture(params=TEMPLATES)
def chat(request: pytest.FixtureRequest, tiny_student: Path) -> Chat:
    return chat_of(request.param, tiny_student)


def chat_of(family: str, student: Path) -> Chat:
    template, special, stop = TEMPLATES[family]
    tokenizer: Any = AutoTokenizer.from_pretrained(student)
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    tokenizer.eos_token = stop
    tokenizer.chat_template = template
    return Chat(tokenizer, fallback="plain")


def lessons_of(folder: Path, row: dict[str, Any]) -> list[Lesson]:
    path = folder / "chats.jsonl"
    path.write_bytes(orjson.dumps(row))
    [recorded] = resolve(["recorded"], {})
    lessons = []
    for example in read_task(RecordsConfig(path=str(path), answered=True), folder):
        attempt = Attempt(
            id=example.id,
            example_id=example.id,
            task=example.task,
            strategy="recorded",
            model="m",
            messages=ask(example, recorded),
            sampling=Sampling(),
            sample=0,
            text=example.meta["response"],
            finish="stop",
        )
        verdict = Verdict(attempt_id="a", verifier="v", value=1.0, answer=None, reason="")
        lessons.append(
            lesson_of(
                Judged(attempt=attempt, verdict=verdict),
                example,
                recorded,
                config=EraseConfig(mode="kept"),
                content="explanation",
                seed=0,
            )
        )
    return lessons


def test_a_conversation_gives_a_lesson_for_each_turn_of_the_assistant(tmp_path: Path) -> None:
    first, second, third = lessons_of(tmp_path, ROW)
    assert [lesson.example_id for lesson in (first, second, third)] == ["sum-1", "sum-2", "sum-3"]
    assert [m.role for m in third.messages] == [
        *("system", "tools", "user", "assistant", "tool", "tool", "assistant", "tool")
    ]
    # Results are in the order of the calls, whatever their order in the row.
    assert [m.content for m in second.messages[-2:]] == ["FIVE", "NINE"]
    words, calls = split_calls(first.completion)
    assert words == "Both at once."
    assert calls == [{"name": "add", "arguments": {"a": a, "b": b}} for a, b in ((2, 3), (4, 5))]
    assert split_calls(second.completion) == (
        "",
        [{"name": "add", "arguments": {"a": 5, "b": 9}}],
    )
    assert third.completion == "5 and 9, together 14."


def test_only_the_words_and_calls_of_the_assistant_are_learned(tmp_path: Path, chat: Chat) -> None:
    for lesson in lessons_of(tmp_path, ROW):
        tokens, prompt = chat.lesson(lesson.messages, lesson.completion)
        assert tokens[:prompt] == chat.prompt(lesson.messages)
        learned, shown = (
            chat.tokenizer.decode(part, skip_special_tokens=False)
            for part in (tokens[prompt:], tokens[:prompt])
        )
        words, calls = split_calls(lesson.completion)
        assert words in learned
        assert learned.count("<tool_call>") == len(calls)
        for call in calls:
            assert json.dumps(call["arguments"]) in learned
        for result in ("FIVE", "NINE", "FOURTEEN", "tool_response", "The sum."):
            assert result not in learned
        assert "The sum." in shown
        assert learned.count(chat.tokenizer.eos_token) == 1


def test_a_template_with_tools_writes_them_itself(tmp_path: Path, tiny_student: Path) -> None:
    chat = chat_of("qwen 2.5", tiny_student)
    turns = [dict(turn) for turn in ROW["messages"]]
    turns[3], turns[4] = turns[4], turns[3]
    for turn in turns:
        if calls := turn.get("tool_calls"):
            functions = [call["function"] for call in calls]
            turn["tool_calls"] = [
                {"function": {**function, "arguments": json.loads(function["arguments"])}}
                for function in functions
            ]
    lessons = lessons_of(tmp_path, ROW)
    for lesson, end in zip(lessons, (3, 6, 8), strict=True):
        whole = chat.tokenizer.apply_chat_template(turns[:end], tools=TOOLS, return_dict=True)
        tokens, _ = chat.lesson(lesson.messages, lesson.completion)
        assert tokens == whole["input_ids"][: len(tokens)]
        assert len(whole["input_ids"]) - len(tokens) <= 1  # the newline after the turn


def test_a_special_token_in_a_call_is_a_text(tiny_student: Path) -> None:
    chat = chat_of("qwen 2.5", tiny_student)
    messages = (
        Message(role="tools", content=json.dumps([ADD])),
        Message(role="user", content="Go."),
    )
    completion = with_calls("", [{"name": "add", "arguments": {"a": "<|im_end|>"}}])
    tokens, prompt = chat.lesson(messages, completion)
    end = chat.tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokens[prompt:].count(end) == 1
    assert tokens[-1] == end
    assert '"a": "<|im_end|>"' in chat.tokenizer.decode(tokens[prompt:])


def test_calls_in_a_conversation_without_tools_are_a_text(tiny_student: Path) -> None:
    chat = chat_of("qwen 2.5", tiny_student)
    written = with_calls("", [{"name": "add", "arguments": {}}])
    question = (Message(role="user", content="Show me a call."),)
    tokens, prompt = chat.lesson(question, written)
    assert chat.tokenizer.decode(tokens[prompt:]) == written + "<|im_end|>"
    assert as_plain_text(question) == question


def test_exported_conversations_come_back_the_same(tmp_path: Path) -> None:
    lessons = lessons_of(tmp_path, ROW)
    for layout in ("messages", "sharegpt", "trl"):
        row = {"id": "sum", **LAYOUTS[layout](lessons[-1])}
        again = lessons_of(tmp_path, row)
        assert [lesson.messages for lesson in again] == [lesson.messages for lesson in lessons]
        assert [lesson.completion for lesson in again] == [lesson.completion for lesson in lessons]
    turn = LAYOUTS["messages"](lessons[1])["messages"][-1]
    assert turn["tool_calls"][0]["function"]["arguments"] == '{"a": 5, "b": 9}'
    assert LAYOUTS["sharegpt"](lessons[1])["conversations"][-1]["from"] == "function_call"
    with pytest.raises(ConfigError, match="alpaca has no place for tools"):
        LAYOUTS["alpaca"](lessons[0])


def test_an_endpoint_is_sent_calls_and_its_calls_are_read() -> None:
    messages: Messages = (
        Message(role="tools", content=json.dumps([ADD])),
        Message(role="user", content="2 + 3?"),
        Message(role="assistant", content=with_calls("", [{"name": "add", "arguments": {"a": 2}}])),
        Message(role="tool", content="5"),
    )
    asked, called, result = _as_turns(messages, "system")
    assert asked == {"role": "user", "content": "2 + 3?"}
    assert called["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 2}'}
    assert result["tool_call_id"] == called["tool_calls"][0]["id"]
    reply = {"message": {"content": None, "tool_calls": [call_of(2, 3, "x")]}}
    completion = _parse_choice({**reply, "finish_reason": "tool_calls"}, Usage(), None, None)
    assert completion.text == with_calls("", [{"name": "add", "arguments": {"a": 2, "b": 3}}])


def test_many_calls_before_other_words_are_soon_read() -> None:
    """Every split of the calls would be tried: twenty would take years."""
    calls = with_calls("", [{"name": "add", "arguments": {}}] * 500)
    assert split_calls(f"{calls}\nand") == (f"{calls}\nand", [])
    words, found = split_calls(f"Now:\n{calls}\n")
    assert (words, len(found)) == ("Now:", 500)


def test_a_row_whose_meta_has_the_same_words_has_no_tools() -> None:
    for meta in ({"prompt_role": "student"}, {"tool_definitions": "a hammer"}):
        example = Example(id="1", task="t", prompt="2 + 3?", answer_type="number", meta=meta)
        messages = conversation("", example)
        assert messages == (Message(role="user", content="2 + 3?"),)


def calling(tool_calls: Any) -> list[dict[str, Any]]:
    """Return a conversation with these calls and one result."""
    return [
        {"role": "user", "content": "2 + 3?"},
        {"role": "assistant", "content": "", "tool_calls": tool_calls},
        {"role": "tool", "content": "5"},
        {"role": "assistant", "content": "5"},
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tools": None}, "no column `tools` says which there are"),
        ({"tools": [{"name": "times"}]}, "turn 3 calls 'add', which the tools do not define"),
        (
            {"messages": ROW["messages"][:4] + ROW["messages"][5:]},
            "turn 5 comes before the res",
        ),
        ({"messages": ROW["messages"][:2] + ROW["messages"][3:]}, "turn 3 is the result of a call"),
        ({"messages": ROW["messages"][2:]}, "turn 1 is by the assistant"),
        ({"messages": calling(5)}, "tool_calls of turn 2 is no list: 5"),
        ({"messages": calling([{"function": "add"}])}, "a call of turn 2 is not"),
        ({"messages": calling("[" * 99_999)}, "tool_calls of turn 2 is not valid JSON .nested too"),
        ({"messages": calling([call_of(1, 2, "x")] * 2)}, "turn 4 comes before the results"),
    ],
)
def test_a_broken_conversation_is_one_line(tmp_path: Path, change: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        lessons_of(tmp_path, {**ROW, **change})
