"""A model behind its own server: the same answers, one start, and no process left behind."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from orcinus.core.errors import ConfigError, StepError
from orcinus.core.requests import chat_request
from orcinus.core.types import Message, Sampling
from orcinus.models.local import server_process
from orcinus.models.local.config import LocalConfig, local_identity
from orcinus.models.local.huggingface import LocalModel
from orcinus.models.local.server_process import ServerProcess, server_command
from orcinus.models.local.to_gguf import CONVERTERS
from orcinus.models.open import open_completer
from orcinus.pipeline import demo

BASE = Path(demo.__file__).parent / "base"
SERVER = """
import asyncio, os, sys
from pathlib import Path
from orcinus.models.server.chat_api import serve_forever
from orcinus.models.local.huggingface import LocalModel
from orcinus.models.local.config import LocalConfig
Path(sys.argv[3]).write_text(str(os.getpid()))
model = LocalModel(LocalConfig(path=sys.argv[1], chat_template="chatml"), device="cpu")
port = int(sys.argv[2])
asyncio.run(
    serve_forever(model, host="127.0.0.1", port=port, on_ready=lambda url: None, name="student")
)
"""
PARENT = """
import asyncio, sys
from orcinus.core.requests import chat_request
from orcinus.core.types import Message, Sampling
from orcinus.models.local.config import LocalConfig
from orcinus.models.local.server_process import ServerProcess

async def go():
    config = LocalConfig.model_validate_json(sys.argv[1])
    question = (Message(role='user', content='Add 1 2.'),)
    request = chat_request(question, Sampling(max_tokens=2))
    await ServerProcess(config, config.server).complete(request)
    print('asked', flush=True)
    await asyncio.sleep(60)

asyncio.run(go())
"""
QUESTIONS = [(Message(role="user", content=f"Add {n} 7 2."),) for n in range(8)]
SAMPLING = Sampling(max_tokens=24)


@pytest.fixture
def config(tmp_path: Path) -> LocalConfig:
    script = tmp_path / "server.py"
    script.write_text(SERVER, encoding="utf-8")
    command = f"{sys.executable} {script} {{path}} {{port}} {tmp_path / 'pid'}"
    return LocalConfig(path=str(BASE), chat_template="chatml", server=command)


def is_alive(process: int) -> bool:
    try:
        return (
            Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            != "Z"
        )
    except (FileNotFoundError, ProcessLookupError):
        return False


def is_gone(process: int) -> bool:
    deadline = time.monotonic() + 20
    while is_alive(process) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_alive(process)


def test_a_served_model_answers_as_in_this_process_under_the_same_identity(
    config: LocalConfig, tmp_path: Path
) -> None:
    async def answers() -> tuple[list[str], list[str], bool]:
        here = LocalModel(config, device="cpu")
        there = open_completer(config, base=tmp_path, device="cpu", secrets={})
        assert isinstance(there, ServerProcess)
        same = here.model == there.model
        served = [
            c.text
            for c in await asyncio.gather(
                *(there.complete(chat_request(q, SAMPLING)) for q in QUESTIONS)
            )
        ]
        own = [
            c.text
            for c in await asyncio.gather(
                *(here.complete(chat_request(q, SAMPLING)) for q in QUESTIONS)
            )
        ]
        await here.aclose()
        await there.aclose()
        await there.aclose()
        return own, served, same

    own, served, same = asyncio.run(answers())
    assert own == served
    assert len(set(own)) > 4
    assert same
    assert is_gone(int((tmp_path / "pid").read_text()))


def test_a_server_that_does_not_start_is_an_error_with_the_end_of_its_log(
    config: LocalConfig,
) -> None:
    broken = config.model_copy(
        update={"server": f"{sys.executable} -c \"raise SystemExit('no memory left')\" {{port}}"}
    )

    async def ask() -> None:
        model = ServerProcess(broken, broken.server)
        try:
            await model.complete(chat_request(QUESTIONS[0], SAMPLING))
        finally:
            await model.aclose()

    with pytest.raises(StepError, match=r"ended before it answered: .*: no memory left"):
        asyncio.run(ask())


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [False, True], ids=["alone", "with its group"])
def test_the_server_ends_with_a_process_that_is_killed(
    config: LocalConfig, tmp_path: Path, whole_group: bool
) -> None:
    """``timeout`` and batch systems send their signal to every process of a group."""
    starter = subprocess.Popen(
        [sys.executable, "-c", PARENT, config.model_dump_json()],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "asked\n"
        server = int((tmp_path / "pid").read_text())
        assert is_alive(server)
    finally:
        if whole_group:
            os.killpg(starter.pid, signal.SIGTERM)
        else:
            os.kill(starter.pid, signal.SIGKILL)
        starter.communicate()
    assert is_gone(server)


def test_without_a_gpu_a_model_runs_in_this_process() -> None:
    assert server_command(LocalConfig(path=str(BASE)), "cpu") is None
    assert server_command(LocalConfig(path=str(BASE), server="none"), "cuda") is None
    assert (
        server_command(LocalConfig(path=str(BASE), server="serve {path} {port}"), "cpu")
        == "serve {path} {port}"
    )


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only folder in which programs are found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def install(program: Path) -> None:
    program.write_text("#!/bin/sh\n", encoding="utf-8")
    program.chmod(0o755)


def test_llama_cpp_says_what_it_needs_before_anything_is_asked(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages: set[str] = set()
    monkeypatch.setattr(server_process, "find_spec", lambda name: name in packages or None)
    llama = shutil.copytree(BASE, tmp_path / "llama")
    other = shutil.copytree(BASE, tmp_path / "other")
    settings = (other / "config.json").read_text(encoding="utf-8")
    (other / "config.json").write_text(settings.replace("Llama", "Qwen3"), encoding="utf-8")
    model = LocalConfig(path=str(llama), server="llama.cpp")
    with pytest.raises(ConfigError, match="`pip install xllamacpp`, or the program llama-server"):
        open_completer(model, base=tmp_path, device="cpu", secrets={})
    packages.add("xllamacpp")
    assert " orcinus.models.local.llama_wheel {gguf} " in (server_command(model, "cpu") or "")
    install(programs / "llama-server")
    assert (server_command(model, "cpu") or "").startswith("llama-server --model {gguf} ")
    with pytest.raises(ConfigError, match="merge it into its model"):
        server_command(model.model_copy(update={"adapter": "lora"}), "cpu")
    unknown = model.model_copy(update={"path": str(other)})
    with pytest.raises(ConfigError, match=r"needs a GGUF file, .* convert_hf_to_gguf\.py"):
        server_command(unknown, "cpu")
    install(programs / CONVERTERS[0])
    assert server_command(unknown, "cpu")
    (programs / CONVERTERS[0]).unlink()
    folder = other.rename(tmp_path / "tiny.gguf.model")
    (tmp_path / "tiny.gguf").touch()
    assert server_command(model.model_copy(update={"path": str(folder)}), "cpu")


def test_answers_of_llama_cpp_are_those_of_another_model(tmp_path: Path) -> None:
    here = LocalConfig(path=str(BASE))
    there = here.model_copy(update={"server": "llama.cpp"})
    assert local_identity(there, tmp_path) == f"{local_identity(here, tmp_path)}+llama.cpp"
