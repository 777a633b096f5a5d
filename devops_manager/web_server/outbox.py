"""The way of an answer to its client: a thread that writes it never waits for the client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devops_manager.web_server.spools import Spool

if TYPE_CHECKING:
    import socket

    from devops_manager.web_server.spools import Budget

# An answer up to this size goes out in one piece.
_PIECE_BYTES = 64 * 1024


class ClientGone(OSError):
    """The client closed the connection before it had its answer."""


class Outbox:
    """Takes the place of the socket for gunicorn's Response.

    What the client does not take at once is kept in a spool; the event loop sends it later.
    """

    def __init__(self, sock: socket.socket, budget: Budget) -> None:
        """Write to ``sock``, which does not block."""
        self._socket = sock
        self._piece = bytearray()
        self._spool = Spool(budget)
        self.sent_bytes = 0

    @property
    def empty(self) -> bool:
        """Whether everything has been given to the kernel."""
        return not self._piece and not self._spool.left

    def sendall(self, data: bytes) -> None:
        """Take ``data``. Raises ClientGone, or NoRoom when too much waits for slow clients."""
        self._piece += data
        if len(self._piece) >= _PIECE_BYTES:
            self.flush()

    send = sendall

    def flush(self) -> None:
        """Send what the client takes now, and keep the rest. Raises ClientGone or NoRoom."""
        if self._spool.left:
            self._send_spool()
        piece, self._piece = self._piece, bytearray()
        rest = memoryview(piece)
        if not self._spool.left:
            rest = rest[self._send(piece) :]
        if rest:
            self._spool.write(rest)

    def _send_spool(self) -> None:
        while self._spool.left:
            data = self._spool.peek(_PIECE_BYTES)
            sent = self._send(data)
            self._spool.drop(sent)
            if sent < len(data):
                return

    def _send(self, data: bytes | bytearray) -> int:
        if not data:
            return 0
        try:
            sent = self._socket.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise ClientGone(str(error)) from error
        self.sent_bytes += sent
        return sent

    def close(self) -> None:
        """Forget what was not sent."""
        self._piece = bytearray()
        self._spool.close()
