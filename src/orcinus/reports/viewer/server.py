"""Serve the viewer's pages over HTTP, to this machine only.

    $ orcinus view
    http://127.0.0.1:41234/pGk3…/

The first part of the address is a secret, drawn at the start: who has the address may read. It is
not a cookie, because all ports of a machine share cookies. Other sites cannot read an answer: no
CORS header is ever sent, and only two host names are accepted. Nothing can be changed (GET only),
and a page runs no script but ours.
"""

import secrets
import signal
import socket
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from orcinus.core.errors import ConfigError, MissingExtraError
from orcinus.reports.viewer.workspace import Workspace

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

ADDRESS = "127.0.0.1"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content security policy of every page that does not set a stricter one."""
HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def serve(workspace: Workspace, *, port: int, on_ready: Callable[[str], None]) -> None:
    """Answer requests until interrupted.

    Args:
        workspace: The runs to show.
        port: The port; 0 picks a free one.
        on_ready: Called with the address, including the secret.

    Raises:
        MissingExtraError: The extra ``view`` is not installed.
        ConfigError: The port is taken.
    """
    try:
        import duckdb  # noqa: F401
        import uvicorn

        from orcinus.reports.viewer.pages import app
    except ImportError as error:
        raise MissingExtraError("orcinus view", "view") from error
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((ADDRESS, port))
    except OSError as error:
        raise ConfigError(
            f"port {port} cannot be used: {error.strerror}; give another --port"
        ) from error
    chosen = listening.getsockname()[1]
    secret = secrets.token_urlsafe(24)
    config = uvicorn.Config(
        Guard(app(workspace, f"/{secret}"), secret, chosen),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )
    # After closing, uvicorn raises the signal that stopped it again. Both are a normal end here.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    listening.listen()
    on_ready(f"http://{ADDRESS}:{chosen}/{secret}/")
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])


class Guard:
    """Lets a request pass to ``app`` if it only reads, names this server and knows the secret."""

    def __init__(self, app: "ASGIApp", secret: str, port: int) -> None:
        self._app = app
        self._secret = secret.encode()
        self._hosts = {f"{name}:{port}".encode() for name in (ADDRESS, "localhost")}

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Refuse the request, or pass it on with the secret removed from its path."""
        from starlette.responses import PlainTextResponse

        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        hosts = [value for name, value in scope.get("headers", ()) if name == b"host"]
        given, _, rest = scope["path"].removeprefix("/").partition("/")
        refusal: Response | None = None
        if scope["type"] != "http":
            return
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            refusal = PlainTextResponse("This server answers only under its own address.\n", 403)
        elif scope["method"] not in ("GET", "HEAD"):
            refusal = PlainTextResponse(
                "These pages can only be read.\n", 405, {"allow": "GET, HEAD"}
            )
        elif not secrets.compare_digest(given.encode(), self._secret):
            refusal = PlainTextResponse(
                "The address lacks its secret; copy it from where orcinus view runs.\n", 403
            )
        app = refusal or self._app
        await app({**scope, "path": f"/{rest}", "raw_path": None}, receive, _with_headers(send))


def _with_headers(send: "Send") -> "Send":
    """Add ``HEADERS`` to every answer; a header that the answer sets itself is kept."""

    async def sending(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            own = {name.lower() for name, _ in message["headers"]}
            added = [
                (name.encode(), value.encode())
                for name, value in HEADERS.items()
                if name.encode() not in own
            ]
            message = {**message, "headers": [*message["headers"], *added]}
        await send(message)

    return sending
