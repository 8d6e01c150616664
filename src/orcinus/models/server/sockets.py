"""A socket server that closes its connections when it stops."""

import asyncio
import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from orcinus.core.errors import ConfigError

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def socket_server(
    converse: Conversation, *, host: str = "127.0.0.1", port: int = 0, limit: int = 2**16
) -> AsyncIterator[int]:
    """Listen while the block runs, and close every connection after it.

    ``asyncio.Server.close`` closes only the listening socket: a client that keeps its connections
    open would leave sockets behind when the event loop ends.

    Args:
        converse: Serves one client until it leaves.
        host: The address to listen on.
        port: The port; 0 for any that is free.
        limit: Most bytes that one read may look ahead.

    Yields:
        The port.

    Raises:
        ConfigError: It cannot listen there.
    """
    conversations: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("asyncio runs a connection outside a task")
        conversations.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await converse(reader, writer)
        finally:
            conversations.discard(task)
            writer.close()
            with suppress(ConnectionError, asyncio.CancelledError):
                await writer.wait_closed()

    try:
        server = await asyncio.start_server(handle, host, port, limit=limit)
    except OSError as error:
        raise ConfigError(_explain_address(host, port, error)) from error
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        left = tuple(conversations)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await server.wait_closed()


def _explain_address(host: str, port: int, error: OSError) -> str:
    """Return why a server cannot listen, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use; name another one with --port (0: any free one)"
    why = error.strerror or error
    return f"cannot listen on {host}, port {port}: {why}; change --host or --port"
