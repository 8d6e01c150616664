"""Read HTTP requests that a hostile client may send, and write replies.

    head = await read_head(reader, "127.0.0.1");  body = await read_body(reader, head, 2**20)
    await write(writer, 200, "application/json", b"{}")

Every size and every wait is bounded. A browser reaches only a server whose own address it names: a
page of another site is refused (DNS rebinding, cross-site requests).
"""

import asyncio
import ipaddress
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

MAX_HEAD_BYTES = 64 * 2**10
"""Bytes of a request's head, at most; browsers and proxies send at most 16 kB."""
IDLE_S = 120.0
"""Seconds until a connection without a request is closed. Clients keep theirs for 5 to 90."""
BODY_S = 60.0
"""Seconds for the body of a request, at most: 16 MiB come in time at 0.3 MB/s."""
LINGER_S = 2.0
"""Seconds for a refused client to read the refusal and to close the connection."""
REASONS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    411: "Length Required",
    413: "Content Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class HttpError(Exception):
    """An HTTP error to send back."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code
        self.closes = False
        """True when the connection cannot be used again: the rest of the request is unread."""

    def closing(self) -> "HttpError":
        """Return the error, after which the connection is closed."""
        self.closes = True
        return self


@dataclass(frozen=True, slots=True)
class Head:
    """The first line and the headers of a request."""

    method: str
    path: str
    headers: Mapping[str, str]
    length: int
    """Bytes of the body."""

    @property
    def keeps_connection(self) -> bool:
        """True if the client will send more requests on the connection."""
        return self.headers.get("connection", "").lower() != "close"


async def read_head(reader: asyncio.StreamReader, host: str) -> Head:
    """Read the head of a request to the server at ``host``.

    Raises:
        HttpError: It is too long or malformed, or a browser sends it for a page of another site.
        IncompleteReadError: The client has left.
    """
    try:
        async with asyncio.timeout(IDLE_S):
            text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.LimitOverrunError:
        raise HttpError(431, "the head of the request is too long").closing() from None
    except TimeoutError:
        raise HttpError(408, "no request came").closing() from None
    first, *lines = text.split("\r\n")
    method, _, rest = first.partition(" ")
    path, _, version = rest.partition(" ")
    if not version.startswith("HTTP/1."):
        raise HttpError(400, "not an HTTP/1.1 request").closing()
    headers: dict[str, str] = {}
    for line in filter(None, lines):
        name, _, value = line.partition(":")
        name, value = name.strip().lower(), value.strip()
        if headers.setdefault(name, value) != value and name in ("content-length", "host"):
            raise HttpError(400, f"two different headers {name}").closing()
    _refuse_other_sites(headers, host)
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers:
        raise HttpError(411, "send content-length, not transfer-encoding").closing()
    if not (length.isascii() and length.isdigit()):
        raise HttpError(400, "content-length is not a number").closing()
    return Head(method, path.partition("?")[0], headers, int(length[:20]))


async def read_body(reader: asyncio.StreamReader, head: Head, longest: int) -> bytes:
    """Read the body of a request.

    Raises:
        HttpError: It is longer than ``longest`` bytes, or comes too slowly.
        IncompleteReadError: The client has left.
    """
    if head.length > longest:
        raise HttpError(413, f"the request is longer than {longest:,} bytes").closing()
    try:
        async with asyncio.timeout(BODY_S):
            return await reader.readexactly(head.length)
    except TimeoutError:
        raise HttpError(408, "the request came too slowly").closing() from None


def _refuse_other_sites(headers: Mapping[str, str], host: str) -> None:
    """Refuse a request for another site's name, or from another site's page.

    Raises:
        HttpError: It is one.
    """
    own, origin = headers.get("host"), headers.get("origin")
    if own is not None and not _is_own(_host_of(own), host):
        raise HttpError(
            403, f"host {own[:100]!r} is not this server; name its IP address"
        ).closing()
    if origin is None or _is_loopback(_host_of(origin)):
        return
    if own is None or origin.lower().partition("://")[2] != own.lower():
        raise HttpError(403, f"origin {origin[:100]!r} is not this server").closing()


def _host_of(given: str) -> str:
    """Return the name in ``host:port`` or in an origin; an empty one if there is none."""
    try:
        return urlsplit(given if "://" in given else f"//{given}").hostname or ""
    except ValueError:
        return ""


def _is_own(name: str, host: str) -> bool:
    """Return True for a name that no public DNS server can point at this machine."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        known = {host.lower(), socket.gethostname().lower()}
        return name in known or (bool(name) and "." not in name and name != "null")
    return True


def _is_loopback(name: str) -> bool:
    """Return True for this machine as it names itself."""
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


async def linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Drop the rest of a refused request, so that the client can read why it was refused.

    A connection that is closed with bytes unread is reset, and the reply is lost.
    """
    writer.write_eof()
    with suppress(TimeoutError, ConnectionError):
        async with asyncio.timeout(LINGER_S):
            while await reader.read(2**16):
                pass


async def write(writer: asyncio.StreamWriter, status: int, content_type: str, body: bytes) -> None:
    """Send a reply."""
    lines = (
        f"HTTP/1.1 {status} {REASONS[status]}",
        f"content-type: {content_type}",
        f"content-length: {len(body)}",
        *(("retry-after: 1",) if status == 503 else ()),
    )
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    await writer.drain()
