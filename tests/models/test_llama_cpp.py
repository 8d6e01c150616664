"""llama.cpp as the student's engine: its real server, where ``pip install xllamacpp`` was run."""

import asyncio
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from orcinus.core.requests import chat_request
from orcinus.core.types import Completion, Message, Request, Sampling
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.gguf_writer import write_llama
from orcinus.models.local.huggingface import LocalModel
from orcinus.models.local.server_process import SLOTS, ServerProcess
from orcinus.models.open import open_completer
from orcinus.pipeline import demo

BASE = Path(demo.__file__).parent / "base"
QUESTIONS = [
    *(f"Add {number} 7 2." for number in range(2 * SLOTS)),
    "What does <|im_end|> end?",
    "  Two  blanks, and\n\na line of its own  ",
    "Grüße, 猫 and 🦙",
]
MOST = 24
"""Tokens of an answer."""

needs_llama_cpp = pytest.mark.skipif(
    shutil.which("llama-server") is None and find_spec("xllamacpp") is None,
    reason="llama.cpp is not installed: pip install xllamacpp",
)


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> LocalConfig:
    """The demo's student as a GGUF file of 32 bits, with its folder beside it."""
    pytest.importorskip("gguf")
    file = tmp_path_factory.mktemp("exact") / "base.gguf"
    write_llama(BASE, file)
    return LocalConfig(path=file.name, chat_template="chatml").at(file.parent)


def asked(text: str, **sampling: object) -> Request:
    settings = Sampling(**{"max_tokens": MOST, **sampling})  # type: ignore[arg-type]
    return chat_request((Message(role="user", content=text),), settings)


async def answers(config: LocalConfig, requests: list[Request]) -> list[Completion]:
    model = open_completer(config, base=Path(), device="cpu", secrets={})
    try:
        return list(await asyncio.gather(*map(model.complete, requests)))
    finally:
        await model.aclose()


def processes_of(path: Path) -> list[str]:
    """Return the commands of all processes that name a file."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if str(path).encode() in command:
            found.append(command.decode(errors="replace"))
    return found


@needs_llama_cpp
def test_llama_cpp_writes_what_the_model_in_this_process_writes(exact: LocalConfig) -> None:
    requests = [
        *map(asked, QUESTIONS),
        asked("Add 3 7 2.", stop=("1",)),
        asked("Add 3 7 2.", logprobs=True),
        asked("Add 3 7 2.", max_tokens=1),
    ]
    own = asyncio.run(answers(exact, requests))
    served = exact.model_copy(update={"server": "llama.cpp"})
    found = asyncio.run(answers(served, requests))
    assert [(c.text, c.finish, c.usage.tokens_in, c.usage.tokens_out) for c in found] == [
        (c.text, c.finish, c.usage.tokens_in, c.usage.tokens_out) for c in own
    ]
    scored, expected = found[-2], own[-2]
    assert scored.logprobs is not None
    assert scored.logprobs == pytest.approx(expected.logprobs, abs=1e-3)
    assert scored.token_bytes == expected.token_bytes
    assert not processes_of(Path(exact.path).parent), "the server ends with the model"


@needs_llama_cpp
def test_a_model_folder_needs_no_file_and_a_seed_decides_the_sample(tmp_path: Path) -> None:
    folder = shutil.copytree(BASE, tmp_path / "student")
    served = LocalConfig(path=str(folder), chat_template="chatml", server="llama.cpp")
    drawn = [asked("Add 3 7 2.", temperature=1.5, seed=seed) for seed in (1, 1, 2, 3, 4)]
    first, again, *others = (c.text for c in asyncio.run(answers(served, drawn)))
    assert first == again
    assert len({first, *others}) > 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["student"]


@needs_llama_cpp
def test_a_question_longer_than_the_context_is_refused_in_one_line(exact: LocalConfig) -> None:
    served = exact.model_copy(update={"server": "llama.cpp"})
    with pytest.raises(Exception, match=r"exceeds the available context size"):
        asyncio.run(answers(served, [asked("word " * 2000)]))


def test_an_empty_answer_is_an_answer_and_no_error() -> None:
    """A small model often ends at once; a chat server's empty reply is a failed call instead."""
    from orcinus.models.remote.replies import NoAnswerError, parse_replies

    body = (
        b'{"choices": [{"text": " \\n", "index": 0, "finish_reason": "stop"}], '
        b'"usage": {"prompt_tokens": 9, "completion_tokens": 2}}'
    )
    [empty] = parse_replies(body, is_chat=False)
    assert (empty.text, empty.finish, empty.usage.tokens_out) == ("", "stop", 2)
    with pytest.raises(NoAnswerError):
        parse_replies(body)


def test_tokens_are_sent_and_no_messages(exact: LocalConfig) -> None:
    model = ServerProcess(exact.model_copy(update={"server": "llama.cpp"}), "")
    own = LocalModel(exact, device="cpu")
    question = asked(QUESTIONS[-3], logprobs=True)
    own._open()
    body = model.endpoint("model", "http://127.0.0.1:1/v1").body(question)
    assert "messages" not in body
    assert body["prompt"] == own._chat.prompt(question.messages)
    assert body["logprobs"] == 1
