"""Replies of servers, read leniently: ends, errors, reasoning, broken JSON, usage."""

import json
from typing import Any

import pytest

from orcinus.core.errors import CompleterError
from orcinus.core.types import Completion, Finish
from orcinus.models.remote.refusals import Caller, refusal
from orcinus.models.remote.replies import NoAnswerError, parse_replies
from orcinus.models.remote.thinking import split_thinking


def reply(content: Any = "4", finish: Any = "stop", **message: Any) -> dict[str, Any]:
    choice = {"message": {"content": content, **message}, "finish_reason": finish}
    return {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}


def parse(content: dict[str, Any], **settings: Any) -> Completion:
    return parse_replies(json.dumps(content).encode(), **settings)[0]


def error_of(content: Any) -> CompleterError:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    with pytest.raises(CompleterError) as caught:
        parse_replies(body)
    return caught.value


@pytest.mark.parametrize(
    ("said", "finish"),
    [
        ("stop", "stop"),
        ("STOP", "stop"),
        ("eos", "stop"),
        ("end_turn", "stop"),
        ("stop-sequence", "stop"),
        (["stop"], "stop"),
        ({"type": "stop"}, "stop"),
        ("length", "length"),
        ("max_tokens", "length"),
        ("MAX_TOKENS", "length"),
        ("model_length", "length"),
        (None, "length"),
        ("content_filter", "refusal"),
        ("SAFETY", "refusal"),
        ("sensitive", "refusal"),
    ],
)
def test_every_known_end_has_one_meaning(said: Any, finish: Finish) -> None:
    found = parse(reply(finish=said))
    assert (found.finish, found.unknown_finish) == (finish, None)


@pytest.mark.parametrize("said", ["error", "abort", "insufficient_system_resource", "ERROR"])
def test_an_end_by_an_error_is_an_error_that_may_be_retried(said: str) -> None:
    assert not error_of(reply(finish=said)).permanent


@pytest.mark.parametrize("said", ["whatever", 7, ["a", "b"], {"x": {}}, True, ""])
def test_an_unknown_end_is_named_and_a_cut_off_only_at_the_limit(said: Any) -> None:
    found = parse(reply(finish=said), max_tokens=50)
    assert found.finish == "stop"
    assert found.unknown_finish is not None
    assert parse(reply(finish=said), max_tokens=3).finish == "length"


@pytest.mark.parametrize(
    ("content", "kind", "fatal"),
    [
        ({"error": {"code": 429, "message": "slow down"}}, "rate_limit", False),
        ({"error": {"code": "402", "message": "top up"}}, "quota", True),
        ({"error": {"code": "insufficient_quota", "message": "quota"}}, "quota", True),
        ({"error": {"type": "overloaded_error", "message": "busy"}}, "server", False),
        ({"error": {"code": "invalid_api_key", "message": "no"}}, "auth", True),
        ({"error": "Rate limit exceeded"}, "rate_limit", False),
        ({"object": "error", "code": 400, "message": "too long"}, "bad_request", False),
        ({"detail": "gone wrong"}, "server", False),
        ([{"error": {"code": 429, "message": "RESOURCE_EXHAUSTED"}}], "rate_limit", False),
        ({**reply(), "error": {"code": 503, "message": "half a reply"}}, "server", False),
    ],
)
def test_a_200_with_an_error_inside_is_that_error(content: Any, kind: str, fatal: bool) -> None:
    found = error_of(content)
    assert (found.kind, found.fatal) == (kind, fatal)


def test_an_error_in_a_choice_is_an_error_and_an_empty_one_is_none() -> None:
    content = reply("")
    content["choices"][0]["error"] = {"code": 502, "message": "Provider disconnected"}
    assert "Provider disconnected" in str(error_of(content))
    assert parse({**reply(), "error": None}).text == "4"


def test_an_empty_reply_is_an_error_unless_it_was_cut_off_or_refused_or_reasoned() -> None:
    assert isinstance(error_of(reply("")), NoAnswerError)
    assert isinstance(error_of(reply(None)), NoAnswerError)
    assert parse(reply("", finish="length")).finish == "length"
    assert parse(reply("", refusal="No.")).text == "No."
    assert parse(reply("", reasoning_content="Hm.")).reasoning == "Hm."


@pytest.mark.parametrize(
    ("text", "reasoning"),
    [
        ("<think>Hm.</think>4", "Hm."),
        ("Hm.\n</think>\n\n4", "Hm."),
        ("[THINK]Hm.[/THINK]4", "Hm."),
        ("<Think>Hm.</Think>4", "Hm."),
        ("Hm.</THINK>4", "Hm."),
        ("<thought>Hm.</thought>4", "Hm."),
        ("Hm.[/THINK]4", "Hm."),
        ("<think></think>\n<think>Hm.</think>4", "Hm."),
        ("<seed:think>Hm.</seed:think>4", "Hm."),
        ("◁think▷Hm.◁/think▷4", "Hm."),
        ("<reflection>Hm.</reflection>4", "Hm."),
        (
            "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final"
            "<|message|>4<|return|>",
            "Hm.",
        ),
        ("Hm.<|end|><|start|>assistant<|channel|>final<|message|>4", "Hm."),
        ("analysisHm.assistantfinal4", "Hm."),
        (
            "<|begin_of_thought|>Hm.<|end_of_thought|>\n<|begin_of_solution|>4<|end_of_solution|>",
            "Hm.",
        ),
    ],
)
def test_every_mark_of_reasoning_is_kept_apart_from_the_answer(text: str, reasoning: str) -> None:
    found = parse(reply(text), prompt="2 + 2?")
    assert (found.reasoning, found.text) == (reasoning, "4")


@pytest.mark.parametrize(
    "text",
    [
        "The tag `</think>` ends it.",
        "4 < 5 and 6 > 5",
        "analysis of the final answer: 4",
        "First <think>this</think> and then 4",
    ],
)
def test_text_without_a_channel_stays_whole(text: str) -> None:
    assert split_thinking(text, "2 + 2?") == (None, text)


def test_a_tag_that_the_prompt_asks_for_is_a_format() -> None:
    text = "<reasoning>2 and 2</reasoning><answer>4</answer>"
    assert split_thinking(text, "Write <reasoning>…</reasoning>") == (None, text)
    assert split_thinking(text) == (None, text)
    assert split_thinking(text, "2 + 2?")[0] == "2 and 2"


def test_a_cut_off_block_leaves_no_answer() -> None:
    assert split_thinking("<think>Hm") == ("Hm", "")
    assert split_thinking("<|channel|>analysis<|message|>Hm") == ("Hm", "")


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"text": "4"}],
        [{"type": "reasoning", "text": "Hm."}, {"type": "text", "text": "4"}],
        {"parts": [{"text": "Hm.", "thought": True}, {"text": "4"}]},
        [{"type": "thinking", "thinking": "Hm."}, "4"],
    ],
)
def test_typed_parts_of_the_content(content: Any) -> None:
    found = parse(reply(content))
    assert (found.reasoning, found.text) == ("Hm.", "4")


STREAM = (
    b'data: {"choices": [{"index": 0, "delta": {"role": "a", "reasoning": "2 + "}}]}\r\n\r\n'
    b'data: {"choices": [{"index": 0, "delta": {"reasoning": "2."}}]}\n\n: a comment\n\n'
    b'event: message\ndata: {"choices": [{"index": 0, "delta": {"content": "It is "}}]}\n\n'
    b'data: {"choices": [{"index": 0, "delta": {"content": "4"}, "finish_reason": "stop"}]}\n\n'
    b'data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}\n\n'
)


def test_a_streamed_reply_is_joined() -> None:
    for end in (b"", b"data: [DONE]\n\n"):
        found = parse_replies(STREAM + end)[0]
        assert (found.text, found.reasoning, found.finish) == ("It is 4", "2 + 2.", "stop")
        assert (found.usage.tokens_in, found.usage.tokens_out) == (7, 3)


def test_a_stream_that_breaks_off_is_cut_off_and_one_with_an_error_is_that_error() -> None:
    whole = STREAM.replace(b', "finish_reason": "stop"', b"")
    assert parse_replies(whole)[0].finish == "length"
    assert error_of(b'data: {"error": {"code": 429, "message": "slow"}}\n\n').kind == "rate_limit"
    assert isinstance(error_of(b"data: [DONE]\n\n"), NoAnswerError)


def test_the_text_of_a_completion_without_a_chat_is_read() -> None:
    assert parse({"choices": [{"text": "It is 4", "finish_reason": "stop"}]}).text == "It is 4"


def test_separate_reasoning_beside_an_empty_block() -> None:
    found = parse(reply("<think>\n</think>\n\n4", reasoning_content="Hm."))
    assert (found.reasoning, found.text) == ("Hm.", "4")
    found = parse(reply("4", reasoning_details=[{"type": "reasoning.text", "text": "Hm."}]))
    assert found.reasoning == "Hm."


BODY = b'{"choices": [{"message": {"content": "%s"}, "finish_reason": "stop"}]}'


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (BODY % rb"4 \ud83d", "4 \ufffd"),
        (BODY % rb"4 \ud83d\ude00", "4 \U0001f600"),
        (BODY % b"4\nand\tmore", "4\nand\tmore"),
        (BODY % b"4 \xff", "4 \ufffd"),
        (BODY % rb"\(4\)", r"\(4\)"),
        (b"\xef\xbb\xbf" + BODY % b"4", "4"),
        ((BODY % b"4").decode().encode("utf-16"), "4"),
        (b'{"usage": NaN, "x": -Infinity, ' + (BODY % b"4")[1:], "4"),
        (b"\n\n" + BODY % b"4" + b"\0", "4"),
    ],
)
def test_json_that_breaks_the_rules_is_read_before_anything_is_paid_again(
    body: bytes, text: str
) -> None:
    assert parse_replies(body)[0].text == text


def test_a_page_in_place_of_a_reply_is_an_error_of_the_server() -> None:
    error = error_of(b"<html><title>Sign in</title></html>")
    assert error.kind == "server"
    assert "an HTML page: Sign in" in str(error)


@pytest.mark.parametrize("body", [b"data: {}\n\n", b"", b'{"a": ', b"[" * 100_000])
def test_what_is_no_json_is_one_line(body: bytes) -> None:
    assert error_of(body).kind == "bad_reply"


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 5}, (10, 5)),
        ({"prompt_tokens": 10.0, "completion_tokens": 5.0}, (10, 5)),
        ({"prompt_tokens": "10", "completion_tokens": "5"}, (10, 5)),
        ({"input_tokens": 10, "output_tokens": 5}, (10, 5)),
        ({"prompt_tokens": 10, "total_tokens": 15}, (10, 5)),
        ({"prompt_tokens": None, "completion_tokens": -5}, (0, 0)),
        ({"prompt_tokens": 2**63, "completion_tokens": True}, (0, 0)),
        ({"prompt_tokens": "many", "completion_tokens": [5]}, (0, 0)),
        ([1], (0, 0)),
        (None, (0, 0)),
    ],
)
def test_usage_in_every_form(usage: Any, tokens: tuple[int, int]) -> None:
    found = parse({**reply(), "usage": usage}).usage
    assert (found.tokens_in, found.tokens_out) == tokens


def test_cached_tokens_are_part_of_the_prompt_s() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": 1000},
    }
    assert parse({**reply(), "usage": usage}).usage.tokens_cached == 10


CALLER = Caller(entry="teacher", model="m", base_url="http://h/v1", api_key_env="KEY")
UNSUPPORTED = (
    "Unsupported parameter: 'max_tokens' is not supported with this model. "
    "Use 'max_completion_tokens' instead."
)
ONE_TEMPERATURE = "Unsupported value: 'temperature' does not support 0. Only the default (1) value"


@pytest.mark.parametrize(
    ("status", "said", "names"),
    [
        (400, UNSUPPORTED, "set teacher.max_tokens_field: max_completion_tokens"),
        (400, ONE_TEMPERATURE, "set teacher.omit: [temperature]"),
        (400, ONE_TEMPERATURE, "teach.sampling.temperature: null"),
        (422, "Extra inputs are not permitted: 'seed'", "set teacher.omit: [seed]"),
        (400, "Unknown parameter: 'top_p'", "set teacher.omit: [top_p]"),
        (400, "Role 'system' is not supported, use developer", "teacher.system_role: developer"),
        (400, "Conversation roles must alternate user/assistant/…", "teacher.system_role: user"),
        (400, "System role not supported", "set teacher.system_role: user"),
        (400, "This model only supports stream mode", "set teach.sampling.extra: {stream: true}"),
        (404, "The model `m` does not exist", "check teacher.model"),
        (402, "Insufficient Balance", "top it up"),
        (429, "insufficient_quota You exceeded your current quota", "top it up"),
        (403, "Your account's billing is not active", "top it up"),
        (401, "wrong", "(key from KEY)"),
        (403, "The key has no right to it", "check the rights of the key from KEY"),
        (403, "Your account was flagged", "check the rights of the key from KEY"),
    ],
)
def test_an_error_of_the_configuration_stops_and_names_the_key(
    status: int, said: str, names: str
) -> None:
    error = refusal(status, json.dumps({"error": {"message": said}}).encode(), caller=CALLER)
    assert names in str(error)
    assert error.fatal


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "This model's maximum context length is 4096 tokens; max_tokens is too large: 9000"),
        (400, "'max_tokens' or 'max_completion_tokens' is too large: 512. This model's maximum"),
        (400, "the prompt is not allowed to be empty"),
        (422, "temperature must be between 0 and 2"),
        (429, "Rate limit reached. Add a payment method at /account/billing to raise it."),
        (429, "You exceeded your current quota, see billing. Please retry in 32s."),
        (400, "content_filter the prompt was filtered"),
        (403, "m requires moderation and your input was flagged for violence"),
        (403, "blocked by our Content Policy"),
    ],
)
def test_an_error_of_one_request_or_of_a_moment_does_not_stop(status: int, said: str) -> None:
    assert not refusal(status, json.dumps({"error": {"message": said}}).encode()).fatal


def test_an_error_in_a_list_of_one_keeps_its_message_and_its_advice() -> None:
    content = json.dumps([{"error": {"code": 400, "message": UNSUPPORTED}}]).encode()
    error = refusal(400, content, caller=CALLER)
    assert error.fatal
    assert f"HTTP 400: 400 {UNSUPPORTED}" in str(error)
    assert "set teacher.max_tokens_field: max_completion_tokens" in str(error)


def test_a_url_without_its_version_is_named() -> None:
    caller = Caller(base_url="http://user:secret@h:80")
    error = refusal(404, b"Not Found", caller=caller)
    assert "set teacher.base_urls: [http://h:80/v1]" in str(error)
    assert "secret" not in str(error)


def test_a_redirect_is_one_line_with_the_new_address() -> None:
    caller = Caller(base_url="http://h/v1")
    error = refusal(308, b"", caller=caller, location="https://h/v1/chat/completions")
    assert "set teacher.base_urls: [https://h/v1]" in str(error)
    assert error.fatal
    assert "/login" in str(refusal(302, b"", caller=caller, location="/login"))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"message": {"content": "<think>2 + 2.</think>4"}},
        {"message": {"content": "<think>2 + 2."}},
        {"message": {"content": "4", "refusal": None, "reasoning_content": ""}},
        {"message": {"content": "4", "reasoning_content": "2 + 2."}},
        {"message": {"content": "4", "refusal": "No."}},
        {"message": {"content": "4"}, "logprobs": {"content": [{"logprob": -0.5}]}},
    ],
)
@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 7, "completion_tokens": 2},
        {"prompt_tokens": 7, "completion_tokens": 0},
        {"prompt_tokens": 0, "completion_tokens": 2, "total_tokens": 9},
        {"prompt_tokens": True, "completion_tokens": 2},
        {"prompt_tokens": 7, "completion_tokens": 10**10},
        {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 3}},
        {"prompt_tokens": 7, "completion_tokens": 2, "prompt_cache_hit_tokens": 4},
    ],
)
def test_a_usual_reply_says_the_same_as_one_with_an_unusual_word_for_its_end(
    change: dict[str, object], usage: dict[str, object]
) -> None:
    choice = {"message": {"content": "4"}, **change}
    usual, unusual = (
        parse({"choices": [{**choice, "finish_reason": word}], "usage": usage})
        for word in ("stop", "eos")
    )
    assert usual == unusual


def test_the_bytes_of_each_token_are_kept_beside_its_logprob() -> None:
    def tokens(*items: dict[str, Any]) -> tuple[int, ...] | None:
        content = reply("<think>Hm.</think>\n\n 4\u00e9")
        content["choices"][0]["logprobs"] = {"content": [{"logprob": -0.5, **i} for i in items]}
        found = parse(content)
        assert found.logprobs == (-0.5,) * len(items)
        return found.token_bytes

    written = ("<think>", "Hm.", "</think>", "\n\n", " 4")
    halves = {"token": "", "bytes": [195]}, {"token": "", "bytes": [169]}
    said = [{"token": text, "bytes": None} for text in written]
    assert tokens(*said, *halves, {"token": "<|end|>"}) == (0, 3, 0, 0, 1, 1, 1, 0)
    assert tokens(*said) is None  # not the tokens of this text
    assert tokens({"token": "", "bytes": None}) is None  # a server that does not know them
