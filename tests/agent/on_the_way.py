"""Servers that stand between an agent and its gateway: something else that answers, and a proxy."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable, Iterator

CRLF = b"\r\n"


@contextlib.contextmanager
def listening(
    serve: Callable[[socket.socket], None], *, port: int = 0, host: str = "127.0.0.1"
) -> Iterator[int]:
    """Serve each connection in a thread of its own; gives the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        open_ones: list[socket.socket] = []

        def handle(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                serve(connection)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    open_ones.append(connection)
                    threading.Thread(target=handle, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in open_ones:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def read_head(connection: socket.socket) -> bytes:
    """Read a request up to its empty line; empty if the client left."""
    head = b""
    while not head.endswith(2 * CRLF):
        byte = connection.recv(1)
        if not byte:
            return b""
        head += byte
    return head


class Foreign:
    """Answers every request with the same bytes, and keeps the requests' heads."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.heads: list[bytes] = []
        self.asked = threading.Event()

    def __call__(self, connection: socket.socket) -> None:
        head = read_head(connection)
        if not head:
            return
        length = int(head.lower().partition(b"content-length: ")[2].partition(CRLF)[0] or 0)
        while length > 0:
            length -= len(connection.recv(length))
        self.heads.append(head)
        connection.sendall(self.answer)
        self.asked.set()


def answer(status: str, body: str = "", **headers: str) -> bytes:
    """An HTTP answer that ends its connection; header names are given with underscores."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body.encode())}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", body]).encode()


class ForwardProxy:
    """A proxy for CONNECT and for absolute URLs; keeps the heads of what it was asked."""

    def __init__(self, *, refuse: bytes = b"") -> None:
        self.heads: list[bytes] = []
        self._refuse = refuse

    def __call__(self, connection: socket.socket) -> None:
        head = read_head(connection)
        if not head:
            return
        self.heads.append(head)
        if self._refuse:
            connection.sendall(self._refuse)
            return
        method, target, _ = head.split(b" ", 2)
        place = target.decode() if method == b"CONNECT" else target.decode().split("/")[2]
        host, _, port = place.rpartition(":")
        with socket.create_connection((host.strip("[]"), int(port))) as server:
            if method == b"CONNECT":
                connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                server.sendall(head)
            _relay(connection, server)


class Impatient:
    """Forwards to a port, and closes what has been silent for some time, without a word."""

    def __init__(self, port: int, seconds: float) -> None:
        self._port = port
        self._seconds = seconds

    def __call__(self, connection: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._port)) as server:
            _relay(connection, server, self._seconds)


def _relay(one: socket.socket, other: socket.socket, seconds: float | None = None) -> None:
    while True:
        readable, _, _ = select.select([one, other], [], [], seconds)
        if not readable:
            return
        for source in readable:
            data = source.recv(65536)
            if not data:
                return
            (other if source is one else one).sendall(data)
