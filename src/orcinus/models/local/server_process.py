"""A local model behind a server of its own: vLLM (or SGLang, or any other) is started, asked like an endpoint, and stopped.

    LocalConfig(path, server: auto) ──start──► vllm serve PATH --port … ──ready──► Endpoint ──aclose──► killed

The server is started with the first question and ends with this process, however that ends (see ``keeper.py``). What it answers is booked
under the model's own identity: where a model runs changes no fingerprint. So that it answers alike, the server is given the chat template
that ``local.py`` would use, and a system message that the template has no turn for stands before the first question here too.
"""

import asyncio
import shlex
import socket
import sys
import tempfile
import urllib.request
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from orcinus.core.errors import StepError
from orcinus.core.protocols import Completer
from orcinus.core.types import Completion, Request, Traits, WorstCase
from orcinus.models.bounds import free_call
from orcinus.models.local.chat_format import Chat
from orcinus.models.local.config import LocalConfig, local_identity
from orcinus.models.remote.endpoint import Endpoint, EndpointConfig

VLLM = (
    "{python} -m vllm.entrypoints.cli.main serve {path} --port {port} --host 127.0.0.1 --served-model-name model "
    "--chat-template {chat_template} --enable-prefix-caching"
)
"""What ``server: auto`` starts where vLLM is installed and a GPU is there."""
START_S = 1200.0
"""Seconds for a server to read its weights and answer: 70 B parameters come from a slow disk in minutes."""
LOOK_S = 0.3
LAST_WORDS = 400


def server_command(config: LocalConfig, device: str) -> str | None:
    """The command that serves ``config``; None where the model runs in this process."""
    if config.server == "none":
        return None
    if config.server != "auto":
        return config.server
    if device == "cpu" or find_spec("vllm") is None or config.adapter is not None:
        return None
    import torch

    return VLLM if torch.cuda.is_available() else None


class ServerProcess:
    """The Completer of a ``LocalConfig`` whose model answers over HTTP."""

    def __init__(self, config: LocalConfig, command: str) -> None:
        self._config, self._command = config, command
        self._identity = local_identity(config, Path())
        self._chat = _chat_of(config)
        self._starting: asyncio.Task[Completer] | None = None
        self._server: asyncio.subprocess.Process | None = None

    @property
    def model(self) -> str:
        """Hash of the weights, or hub id and revision: the same as in this process."""
        return self._identity

    @property
    def traits(self) -> Traits:
        """VLLM continues partial replies; a server that cannot refuses the request."""
        return Traits(continues=True)

    async def complete(self, request: Request) -> Completion:
        """Send the request to the server, which the first request starts.

        Raises:
            StepError: The server does not start; says its last words.
            CompleterError: No answer came.
        """
        if self._starting is None:
            self._starting = asyncio.create_task(self._start())
        endpoint = await asyncio.shield(self._starting)
        folded = replace(request, messages=self._chat.folded(request.messages))
        return await endpoint.complete(folded)

    def worst_case(self, request: Request) -> WorstCase:
        """Return the bounds of a call that costs no money."""
        return free_call(request)

    async def aclose(self) -> None:
        """Stop the server. May be called twice."""
        if self._starting is not None:
            self._starting.cancel()
            [endpoint] = await asyncio.gather(self._starting, return_exceptions=True)
            if isinstance(endpoint, Endpoint):
                await endpoint.aclose()
            self._starting = None
        await self._stop()

    async def _start(self) -> Completer:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with (
            tempfile.TemporaryFile() as log,
            tempfile.NamedTemporaryFile("w", suffix=".jinja", encoding="utf-8") as template,
        ):
            template.write(self._chat.template)
            template.flush()
            places = {
                "python": sys.executable,
                "path": self._config.path,
                "port": port,
                "chat_template": template.name,
            }
            words = [word.format(**places) for word in shlex.split(self._command)]
            self._server = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "orcinus.models.local.keeper",
                *words,
                stdin=asyncio.subprocess.PIPE,
                stdout=log,
                stderr=log,
            )
            url = f"http://127.0.0.1:{port}/v1"
            try:
                async with asyncio.timeout(START_S):
                    while (name := await asyncio.to_thread(_served_name, url)) is None:
                        if self._server.returncode is not None:
                            raise StepError(
                                f"the model's server ended before it answered: {words[0]}: {_tail(log)}"
                            )
                        await asyncio.sleep(LOOK_S)
            except TimeoutError:
                raise StepError(
                    f"the model's server did not answer within {START_S:.0f} s: {words[0]}: {_tail(log)}"
                ) from None
        return Endpoint(EndpointConfig(model=name, base_urls=(url,), continues=True), secrets={})

    async def _stop(self) -> None:
        if self._server is not None and self._server.stdin is not None:
            self._server.stdin.close()  # the keeper kills what it started
            await self._server.wait()
            self._server = None


def _chat_of(config: LocalConfig) -> Chat:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(config.path, revision=config.revision)
    return Chat(tokenizer, fallback=config.chat_template)


def _served_name(url: str) -> str | None:
    """The first model that the server names; None while it does not answer."""
    import orjson

    try:
        with urllib.request.urlopen(f"{url}/models", timeout=5) as reply:
            return str(orjson.loads(reply.read())["data"][0]["id"])
    except (urllib.error.URLError, OSError, ValueError, LookupError):
        return None


def _tail(log: object) -> str:
    log.seek(0)  # type: ignore[attr-defined]
    text: bytes = log.read()  # type: ignore[attr-defined]
    return " ".join(text.decode(errors="replace").split())[-LAST_WORDS:] or "it said nothing"
