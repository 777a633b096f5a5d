"""A TCP proxy that a test can cut, restore and freeze: an outage of a server that others share."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from pathlib import Path

LOOPBACK = "127.0.0.1"
_CHUNK = 65_536


class Proxy:
    """Forwards ``port`` to a server at (host, port); host may be the directory of a socket."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = (host, port)
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
        host, port = self._upstream
        if not host.startswith("/"):
            return socket.create_connection((host, port))
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(Path(host) / f".s.PGSQL.{port}"))
        return server

    def _forward(self, client: socket.socket) -> None:
        with client, self._connect() as server:
            with self._lock:
                if self._listener is None:
                    return
                self._open |= {client, server}
            with contextlib.suppress(OSError):
                self._pump(client, server)
            with self._lock:
                self._open -= {client, server}

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        other = {client: server, server: client}
        while True:
            readable, _, _ = select.select([client, server], [], [])
            self._flowing.wait()
            for end in readable:
                data = end.recv(_CHUNK)
                if not data:
                    return
                other[end].sendall(data)
