"""Clients that are slow on purpose, and the pulse of everybody else meanwhile."""

from __future__ import annotations

import collections
import http.client
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

DRIP_SECONDS = 0.4
_LATER = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_POST = b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"


@dataclass(frozen=True)
class Manner:
    """How a client is slow: it sends ``at_once``, then a byte of ``drips`` now and then."""

    name: str
    at_once: bytes = b""
    drips: bytes = b""
    reads: bool = True


def manners(path: str, page: str, announced: int) -> list[Manner]:
    """Return every manner.

    Bodies are sent to ``path``, which are announced as so long; ``page`` is asked for, never read.
    """
    head = _POST % path.encode() + b"content-length: %d\r\n\r\n" % announced
    get = f"GET {page} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
    return [
        Manner("says nothing"),
        Manner("a lone letter", b"G"),
        Manner("drips a head", b"", b"GET /" + b"a" * 4000),
        Manner("drips a body", head, b" " * 4000),
        Manner("announces a body", head),
        Manner("sends a part of a body", head + b" " * (announced // 30)),
        Manner("half a small body", _POST % path.encode() + b"content-length: 4\r\n\r\n{"),
        Manner("drips header lines", b"GET / HTTP/1.1\r\n", b"x: y\r\n" * 600),
        Manner("never reads", get * 400, reads=False),
    ]


@dataclass
class _Client:
    manner: Manner
    sock: socket.socket
    began: float
    at: int = 0
    heard: bytes = b""


@dataclass
class Outcome:
    """What became of the slow connections."""

    ended: dict[str, list[tuple[float, bytes]]] = field(
        default_factory=lambda: collections.defaultdict(list)
    )

    def longest(self, name: str) -> float:
        """Return how long the longest-lived connection of a manner was open."""
        return max(seconds for seconds, _ in self.ended[name])

    def answers(self, name: str) -> set[bytes]:
        """Return the first line of each answer."""
        return {heard.split(b"\r\n", 1)[0] for _, heard in self.ended[name]}


class SlowClients:
    """So many slow connections, for as long as they are wanted: who is closed comes again."""

    def __init__(
        self, port: int, count: int, kinds: list[Manner], tls: ssl.SSLContext | None
    ) -> None:
        self._port = port
        self._tls = tls
        self._kinds = [kinds[at % len(kinds)] for at in range(count)]
        self._selector = selectors.DefaultSelector()
        self._clients: list[_Client] = []
        self.outcome = Outcome()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        for manner in self._kinds:
            self._connect(manner)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        for client in self._clients:
            client.sock.close()
        self._selector.close()

    def _connect(self, manner: Manner) -> None:
        sock = socket.socket()
        if not manner.reads:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(5)
        sock.connect(("127.0.0.1", self._port))
        if self._tls is not None:
            sock = self._tls.wrap_socket(sock, server_hostname="127.0.0.1")
        sock.setblocking(False)
        client = _Client(manner, sock, time.monotonic())
        self._clients.append(client)
        if manner.reads:
            self._selector.register(sock, selectors.EVENT_READ, client)
        self._send(client, manner.at_once)

    def _send(self, client: _Client, data: bytes) -> None:
        try:
            client.sock.send(data)
        except _LATER:
            pass
        except OSError:
            self._end(client)

    def _run(self) -> None:
        next_drip = time.monotonic()
        while not self._stop.is_set():
            for key, _ in self._selector.select(DRIP_SECONDS / 2):
                self._read(key.data)
            if time.monotonic() >= next_drip:
                next_drip += DRIP_SECONDS
                for client in list(self._clients):
                    self._drip(client)

    def _drip(self, client: _Client) -> None:
        if not client.manner.reads and self._is_closed(client):
            self._end(client)
        if client.at < len(client.manner.drips):
            client.at += 1
            self._send(client, client.manner.drips[client.at - 1 : client.at])

    def _is_closed(self, client: _Client) -> bool:
        """Whether the server has ended the connection of a client that does not read."""
        return client.sock.getsockopt(socket.SOL_TCP, socket.TCP_INFO, 1)[0] != 1

    def _read(self, client: _Client) -> None:
        try:
            piece = client.sock.recv(65536)
        except _LATER:
            return
        except OSError:
            piece = b""
        client.heard = (client.heard + piece)[:4000]
        if not piece:
            self._end(client)

    def _end(self, client: _Client) -> None:
        if client not in self._clients:
            return
        self._clients.remove(client)
        if client.manner.reads:
            self._selector.unregister(client.sock)
        client.sock.close()
        lived = time.monotonic() - client.began
        self.outcome.ended[client.manner.name].append((lived, client.heard))
        if not self._stop.is_set():
            self._connect(client.manner)


@contextmanager
def slow_clients(
    port: int, count: int, kinds: list[Manner], *, tls: ssl.SSLContext | None = None
) -> Iterator[Outcome]:
    """Keep ``count`` slow connections open for as long as the ``with`` block lasts."""
    clients = SlowClients(port, count, kinds, tls)
    clients.start()
    try:
        yield clients.outcome
    finally:
        clients.stop()


def slowest_answer(
    port: int,
    paths: list[str],
    *,
    seconds: float,
    headers: Mapping[str, str],
    tls: ssl.SSLContext | None = None,
) -> float:
    """Ask for the paths in turns, each on a connection of its own; return the longest wait."""
    slowest = 0.0
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for path in paths:
            began = time.monotonic()
            connection = (
                http.client.HTTPConnection("127.0.0.1", port, timeout=30)
                if tls is None
                else http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=tls)
            )
            connection.request("GET", path, headers=dict(headers))
            answer = connection.getresponse()
            text = answer.read()
            connection.close()
            slowest = max(slowest, time.monotonic() - began)
            assert answer.status == 200, (path, text)
    return slowest
