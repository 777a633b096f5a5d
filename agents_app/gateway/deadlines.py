"""Ends connections whose time is over: one timer for all of a server's connections.

10,000 held polls have no deadline; looking at each of them once a second takes less than setting a
timer for each request would.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from uvicorn.server import ServerState

SWEEP_SECONDS = 1.0
_RESET = struct.pack("ii", 1, 0)
# Slower than this, a body or an answer is given up at its time limit.
SLOWEST_BYTES_A_SECOND = 16 * 1024


class Sweep:
    """Looks at every connection of one server while there are any."""

    _running: ClassVar[dict[int, Sweep]] = {}

    def __init__(self, server_state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        """Begin; ``over`` calls this when none is running."""
        self._server_state = server_state
        self._loop = loop
        self._wait()

    @classmethod
    def over(cls, server_state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        """See to it that this server's connections are looked at."""
        if id(server_state) not in cls._running:
            cls._running[id(server_state)] = cls(server_state, loop)

    def _wait(self) -> None:
        self._loop.call_later(SWEEP_SECONDS, self._look)

    def _look(self) -> None:
        now = self._loop.time()
        connections: set[Any] = self._server_state.connections
        for connection in [each for each in connections if each.deadline <= now]:
            connection.overdue(now)
        if connections:
            self._wait()
        else:
            del self._running[id(self._server_state)]


def reset(transport: asyncio.Transport) -> None:
    """End a connection at once: the kernel would keep what the client does not take for minutes."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    transport.abort()
