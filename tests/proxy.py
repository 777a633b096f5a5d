"""A TCP proxy that a test can cut, restore and freeze: an outage of a server that others share.

With several servers behind it, it is a load balancer: each connection goes to the next one.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import threading
from collections.abc import Callable
from pathlib import Path

LOOPBACK = "127.0.0.1"
_CHUNK = 65_536


class Proxy:
    """Forwards ``port`` to a server at (host, port); host may be the directory of a socket.

    ``others`` are more servers, taken in turn; one that refuses is passed over.
    """

    def __init__(self, host: str, port: int, *others: tuple[str, int]) -> None:
        self._upstreams = [(host, port), *others]
        self._turns = itertools.count()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._flowing = threading.Event()
        self._flowing.set()
        self._listener: socket.socket | None = None
        self.port = 0
        self.restore()

    def restore(self) -> None:
        """Accept connections (again), on the same port."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((LOOPBACK, self.port))
        listener.listen(64)
        self.port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        """Break all connections and refuse new ones."""
        self._flowing.set()
        with self._lock:
            if self._listener is not None:
                # shutdown wakes the thread in accept; close alone would not
                self._listener.shutdown(socket.SHUT_RDWR)
                self._listener.close()
                self._listener = None
            for end in self._open:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def freeze(self) -> None:
        """Let nothing through, and break nothing, until ``thaw``."""
        self._flowing.clear()

    def thaw(self) -> None:
        """Let everything through again."""
        self._flowing.set()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _connect(self) -> socket.socket:
        """Connect to the server whose turn it is, or to the next that can be reached."""
        turn = next(self._turns)
        count = len(self._upstreams)
        for number in range(turn, turn + count - 1):
            with contextlib.suppress(OSError):
                return self._connect_to(*self._upstreams[number % count])
        return self._connect_to(*self._upstreams[(turn + count - 1) % count])

    @staticmethod
    def _connect_to(host: str, port: int) -> socket.socket:
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(Path(host) / f".s.PGSQL.{port}"))
        return server

    def _forward(self, client: socket.socket) -> None:
        # A server that is away looks to the client like one that hangs up at once.
        with client, contextlib.suppress(ConnectionError), self._connect() as server:
            with self._lock:
                if self._listener is None:
                    return
                self._open |= {client, server}
            with contextlib.suppress(OSError):
                self._pump(client, server)
            with self._lock:
                self._open -= {client, server}

    def _judge(self) -> Callable[[bool, bytes], bool]:
        """Return what says, on one new connection, whether (from the client, data) goes on."""
        return lambda _from_client, _data: True

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        goes_on = self._judge()
        while True:
            readable, _, _ = select.select([client, server], [], [])
            self._flowing.wait()
            for end in readable:
                data = end.recv(_CHUNK)
                if not data or not goes_on(end is client, data):
                    return
                other[end].sendall(data)
