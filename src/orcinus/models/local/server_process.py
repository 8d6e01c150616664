"""A local model behind its own server: start vLLM, llama.cpp or another, use it, stop it.

    LocalConfig(path, server: auto) ──start──► vllm serve PATH --port … ──ready──► Endpoint

The first request starts the server. It ends with this process, even if that is killed (see
``keeper.py``). Its answers are stored under the model's own identity: where a model runs changes no
fingerprint. For that the server gets the chat template that ``huggingface.py`` would use. A
system message for which the template has no turn is merged into the first question here too.

llama.cpp gets the tokens of the conversation, so neither its template nor its tokenizer matters.
Its weights have 32 bits: with 8 bits one verdict in nine was another. The keys and values that it
keeps have 16 bits, so its answers count as another model's.
"""

import asyncio
import shlex
import shutil
import socket
import sys
import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from orcinus.core.errors import ConfigError, StepError
from orcinus.core.imports import import_later
from orcinus.core.protocols import Completer
from orcinus.core.types import Completion, Request, Traits, WorstCase
from orcinus.models.bounds import free_call
from orcinus.models.local import gguf
from orcinus.models.local.config import LocalConfig, local_identity
from orcinus.models.local.gguf_writer import can_write, write_llama
from orcinus.models.local.to_gguf import find_converter, run_converter
from orcinus.models.remote.endpoint_config import EndpointConfig, Limits
from orcinus.models.remote.wire import Patience
from orcinus.runs.model_names import LLAMA_CPP

if TYPE_CHECKING:
    from orcinus.models.local import chat_format
    from orcinus.models.remote import endpoint as remote
else:
    chat_format = import_later("orcinus.models.local.chat_format")
    remote = import_later("orcinus.models.remote.endpoint")

VLLM = (
    "{python} -m vllm.entrypoints.cli.main serve {path} --port {port} --host 127.0.0.1 "
    "--served-model-name model --chat-template {chat_template} --enable-prefix-caching"
)
"""The command of ``server: auto`` if vLLM is installed and there is a GPU."""
LLAMA = (
    "llama-server --model {gguf} --port {port} --host 127.0.0.1 --alias model "
    "--parallel {slots} --kv-unified --ctx-size {batch_tokens} --threads {threads} "
    "--top-k 0 --min-p 0"
)
"""The command of ``server: llama.cpp``. Its own defaults would leave out unlikely tokens."""
LLAMA_WHEEL = (
    "{python} -m orcinus.models.local.llama_wheel {gguf} {port} {slots} {batch_tokens} {threads}"
)
"""The same with the package ``xllamacpp``, which has llama.cpp's server and no program."""
SLOTS = 16
"""Answers that llama.cpp writes at once."""
START_S = 1200.0
"""Seconds for a server to start: 70 B parameters take minutes to read from a slow disk."""
WAITING = 4
"""Requests that wait at llama.cpp's server for a slot. It has as many threads to listen to them."""
PATIENCE = Patience(silence_s=24 * 3600, total_s=24 * 3600)
"""A server of our own is slow and not lost: it ends when its process ends."""
POLL_S = 0.3
"""Seconds between two looks at a server that is starting."""
LOG_TAIL = 400
"""Characters of a failed server's log that the error message quotes."""


def server_command(config: LocalConfig, device: str) -> str | None:
    """Return the command that serves ``config``; None if the model runs in this process.

    Raises:
        ConfigError: ``server: llama.cpp`` is asked for, and something that it needs is missing.
    """
    if config.server == "none":
        return None
    if config.server == LLAMA_CPP:
        return _llama_command(config)
    if config.server != "auto":
        return config.server
    if device == "cpu" or find_spec("vllm") is None or config.adapter is not None:
        return None
    import torch

    return VLLM if torch.cuda.is_available() else None


class ServerProcess:
    """The Completer of a ``LocalConfig`` whose model runs behind a server that it starts."""

    def __init__(self, config: LocalConfig, command: str) -> None:
        self._config, self._command = config, command
        self._is_llama = config.server == LLAMA_CPP
        self._identity = local_identity(config, Path())
        self._chat = _open_chat(config)
        self._starting: asyncio.Task[Completer] | None = None
        self._server: asyncio.subprocess.Process | None = None

    @property
    def model(self) -> str:
        """Hash of the weights, or hub id and revision: the same as in this process."""
        return self._identity

    @property
    def traits(self) -> Traits:
        """VLLM continues partial replies; a server that cannot refuses the request.

        llama.cpp leaves out the stop text at which a part of a reply ends.
        """
        return Traits(continues=not self._is_llama)

    async def complete(self, request: Request) -> Completion:
        """Send the request to the server, which the first request starts.

        Raises:
            StepError: The server does not start; quotes the end of its log.
            CompleterError: No answer came.
        """
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        endpoint = await asyncio.shield(self._starting)
        folded = replace(request, messages=self._chat.fit(request.messages))
        return await endpoint.complete(folded)

    def worst_case(self, request: Request) -> WorstCase:
        """Return the bounds of a call that costs no money."""
        return free_call(request)

    async def aclose(self) -> None:
        """Stop the server. May be called twice."""
        if self._starting is not None:
            self._starting.cancel()
            [endpoint] = await asyncio.gather(self._starting, return_exceptions=True)
            if isinstance(endpoint, remote.Endpoint):
                await endpoint.aclose()
            self._starting = None
        await self._stop()

    async def _start(self) -> Completer:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with (
            tempfile.TemporaryFile() as log,
            tempfile.NamedTemporaryFile("w", suffix=".jinja", encoding="utf-8") as template,
            tempfile.TemporaryDirectory() as converted,
        ):
            template.write(self._chat.template)
            template.flush()
            values = {
                "python": sys.executable,
                "path": self._config.path,
                "port": port,
                "chat_template": template.name,
                "batch_tokens": self._config.batch_tokens,
            }
            if self._is_llama:
                gguf_file = await asyncio.to_thread(_gguf, Path(self._config.path), Path(converted))
                values |= {"gguf": gguf_file, "slots": SLOTS, "threads": _torch_threads()}
            words = [word.format(**values) for word in shlex.split(self._command)]
            self._server = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "orcinus.models.local.keeper",
                *words,
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
                # A signal to our whole group would end the keeper and leave the server behind.
                start_new_session=True,
            )
            url = f"http://127.0.0.1:{port}/v1"
            try:
                async with asyncio.timeout(START_S):
                    while (name := await asyncio.to_thread(_served_name, url)) is None:
                        if self._server.returncode is not None:
                            raise StepError(
                                "the model's server ended before it answered: "
                                f"{words[0]}: {_log_tail(log)}"
                            )
                        await asyncio.sleep(POLL_S)
            except TimeoutError:
                raise StepError(
                    f"the model's server did not answer within {START_S:.0f} s: "
                    f"{words[0]}: {_log_tail(log)}"
                ) from None
        return self.endpoint(name, url)

    def endpoint(self, name: str, url: str) -> "remote.Endpoint":
        """Return the client of the server that answers at ``url``."""
        served = EndpointConfig(
            model=name,
            base_urls=(url,),
            continues=self.traits.continues,
            patience=PATIENCE,
            limits=Limits(in_flight=SLOTS + WAITING) if self._is_llama else Limits(),
        )
        return remote.Endpoint(
            served, secrets={}, tokenize=self._chat.prompt if self._is_llama else None
        )

    async def _stop(self) -> None:
        if self._server is not None and self._server.stdin is not None:
            self._server.stdin.close()  # the keeper kills what it started
            await self._server.wait()
            self._server = None


def _llama_command(config: LocalConfig) -> str:
    """Return the command of ``server: llama.cpp``; refuse what it cannot serve here."""
    command = LLAMA if shutil.which("llama-server") else LLAMA_WHEEL
    if command == LLAMA_WHEEL and find_spec("xllamacpp") is None:
        raise ConfigError(
            "server: llama.cpp needs llama.cpp's server: `pip install xllamacpp`, or the program "
            "llama-server of https://github.com/ggml-org/llama.cpp on the PATH; or leave server out"
        )
    if config.adapter is not None:
        raise ConfigError("server: llama.cpp cannot add an adapter; merge it into its model")
    folder = Path(config.path)
    if _own_gguf(folder) is None and not can_write(folder) and not _can_convert(folder):
        raise ConfigError(
            f"{config.path}: server: llama.cpp needs a GGUF file, a Llama model in a folder, or "
            "another model's folder and llama.cpp's convert_hf_to_gguf.py on the PATH"
        )
    return command


def _can_convert(folder: Path) -> bool:
    return folder.is_dir() and find_converter(None) is not None


def _own_gguf(folder: Path) -> Path | None:
    """Return the GGUF file that a model's folder was made from; None if there is none."""
    file = folder.with_name(folder.name.removesuffix(".model"))
    return file if file.suffix == gguf.SUFFIX and file.is_file() else None


def _gguf(folder: Path, out: Path) -> Path:
    """Return the model as a GGUF file with weights of 32 bits, which is made in ``out``.

    For a kind that orcinus cannot write it is the file that the model was made from, if any.
    """
    made = out / f"model{gguf.SUFFIX}"
    if can_write(folder):
        write_llama(folder, made)
    elif (own := _own_gguf(folder)) is not None:
        return own
    else:
        run_converter(folder, made, "f32")
    return made


def _torch_threads() -> int:
    """Return the threads that the model would use in this process."""
    import torch

    return torch.get_num_threads()


def _open_chat(config: LocalConfig) -> "chat_format.Chat":
    from orcinus.models.local.weights import read_tokenizer

    return chat_format.Chat(read_tokenizer(config), fallback=config.chat_template)


def _served_name(url: str) -> str | None:
    """Return the first model that the server lists; None while it does not answer."""
    import urllib.request

    import orjson

    try:
        with urllib.request.urlopen(f"{url}/models", timeout=5) as reply:
            return str(orjson.loads(reply.read())["data"][0]["id"])
    except (urllib.error.URLError, OSError, ValueError, LookupError):
        return None


def _log_tail(log: object) -> str:
    log.seek(0)  # type: ignore[attr-defined]
    text: bytes = log.read()  # type: ignore[attr-defined]
    return " ".join(text.decode(errors="replace").split())[-LOG_TAIL:] or "its log is empty"
