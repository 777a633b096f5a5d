"""Requests to the gateway: one keep-alive connection a loop, JSON in and out, typed failures."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import ssl
import threading
import time
from typing import Any

from agents_app.agent import AGENT_VERSION
from agents_app.agent.address import parse_server
from agents_app.agent.config import Settings
from agents_app.agent.proxy import NO_PROXY_AT_ALL, open_tunnel, parse_proxy
from agents_app.agent.trust import Trust

# The first connection of TCP, without which nothing else begins; then all the rest of it.
REACH_SECONDS = 3.0
CONNECT_SECONDS = 10.0
# A server that went away without a word is noticed about so soon.
KEEPALIVE = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 2), ("TCP_KEEPCNT", 5))
LARGEST_ANSWER_BYTES = 64 * 1024 * 1024
READ_BYTES = 65536
LONGEST_DETAIL = 300


class TransportError(Exception):
    """No answer came: the request may or may not have been served."""


class StaleConnectionError(TransportError):
    """A connection that was kept open had been shut by the other side; a new one may do at once."""


class CutError(TransportError):
    """The connection was ended while the answer was waited for."""


class Refused(Exception):
    """An answer other than success."""

    def __init__(
        self, status: int, code: str, detail: str, retry_after_seconds: float | None
    ) -> None:
        """``code`` is empty when something else than the gateway answered."""
        super().__init__(f"{status} {code or 'without a code'}: {detail or 'no detail'}")
        self.status = status
        self.code = code
        self.retry_after_seconds = retry_after_seconds

    @property
    def of_gateway(self) -> bool:
        """Whether the gateway itself said so. What a proxy or an ingress says is never final."""
        return bool(self.code)


class Channel:
    """One connection, for one thread. ``abort`` and ``interrupt`` may be called from another."""

    def __init__(self, settings: Settings) -> None:
        """Connects at the first request. Raises ConfigError if the CA file is no good."""
        self._server = parse_server(settings.server)
        proxied = settings.proxy and settings.proxy != NO_PROXY_AT_ALL
        self._proxy = parse_proxy(settings.proxy) if proxied else None
        self._trust = Trust(settings.ca_file) if self._server.secure else None
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None
        self._aborted = False
        self._sent_at: float | None = None

    @property
    def waited_seconds(self) -> float:
        """How long the last request has been, or was, waited for since it was sent."""
        return 0.0 if self._sent_at is None else time.monotonic() - self._sent_at

    def post(
        self, name: str, body: bytes, *, credential: str = "", timeout_seconds: float
    ) -> dict[str, Any]:
        """Send JSON to an endpoint; the answer's object. Raises Refused or TransportError.

        A redirect is never followed: what it names is no place for a token.
        """
        reused, self._sent_at = self._connection is not None, None
        try:
            connection = self._connect()
            connection.sock.settimeout(timeout_seconds)
            connection.request(
                "POST", self._target(name), body=body, headers=self._headers(credential)
            )
            self._sent_at = time.monotonic()
            response = connection.getresponse()
            content = _read(response)
            if response.will_close or not response.isclosed():
                self.close()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise self._failure(error, reused) from error
        if response.status in (200, 201):
            return _object(content)
        raise _refusal(response, content)

    def _failure(self, error: Exception, reused: bool) -> TransportError:
        shut = (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError)
        text = _describe(error)
        # A connection that had been shut is met at once; one that is cut later, during the wait.
        if reused and isinstance(error, shut) and self.waited_seconds < 1.0:
            return StaleConnectionError(text)
        if self._sent_at is not None and isinstance(error, (*shut, http.client.IncompleteRead)):
            return CutError(text)
        return TransportError(text)

    def _target(self, name: str) -> str:
        path = self._server.path + name
        if self._proxy is None or self._server.secure:
            return path
        return f"http://{self._server.authority}{path}"

    def _headers(self, credential: str) -> dict[str, str]:
        headers = {
            "Host": self._server.authority,
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": f"devops-agent/{AGENT_VERSION}",
        }
        if credential:
            headers["Authorization"] = f"Bearer {credential}"
        if self._proxy is not None and not self._server.secure:
            headers.update(self._proxy.headers)
        return headers

    def _connect(self) -> http.client.HTTPConnection:
        if self._connection is not None:
            return self._connection
        # The port is given: without one http.client looks for it in an IPv6 address.
        connection = http.client.HTTPConnection(self._server.host, self._server.port)
        connection.auto_open = 0
        connection.sock = self._open()
        with self._lock:
            if self._aborted:
                connection.close()
                raise ConnectionAbortedError("the agent is stopping")
            self._connection = connection
        return connection

    def _open(self) -> socket.socket:
        """A connection to the server, through the proxy if there is one, with TLS if it has it."""
        server, proxy = self._server, self._proxy
        place = (server.host, server.port) if proxy is None else (proxy.host, proxy.port)
        sock = socket.create_connection(place, timeout=REACH_SECONDS)
        try:
            sock.settimeout(CONNECT_SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in KEEPALIVE:
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
            if self._trust is None:
                return sock
            if proxy is not None:
                open_tunnel(sock, proxy, server)
            return self._trust.wrap(sock, server.name)
        except OSError:
            # A failed handshake leaves the socket below it open.
            sock.close()
            raise

    def close(self) -> None:
        """Shut the connection; the next request opens another."""
        with self._lock:
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def abort(self) -> None:
        """End the request under way and refuse any further one."""
        with self._lock:
            self._aborted = True
            sock = self._connection.sock if self._connection is not None else None
        _shut(sock)

    def interrupt(self) -> None:
        """End the request under way, unless its answer is arriving; the next one is served."""
        with self._lock:
            sock = self._connection.sock if self._connection is not None else None
            if sock is not None and not _readable(sock):
                _shut(sock)


def _shut(sock: socket.socket | None) -> None:
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def _readable(sock: socket.socket) -> bool:
    try:
        watched = select.poll()
        watched.register(sock, select.POLLIN)
        return bool(watched.poll(0))
    except (OSError, ValueError):
        return True  # it is closed already


def encode(message: dict[str, Any]) -> bytes:
    """A message as the bytes of a request."""
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def _read(response: http.client.HTTPResponse) -> bytes:
    """The body, piece by piece: before Python 3.10 ``read(n)`` sets n bytes of memory aside."""
    content = bytearray()
    while len(content) <= LARGEST_ANSWER_BYTES:
        piece = response.read(READ_BYTES)
        if not piece:
            if response.length:
                raise http.client.IncompleteRead(bytes(content), response.length)
            return bytes(content)
        content += piece
    raise http.client.HTTPException("the answer is too large")


def _object(content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise TransportError(
            "the answer is not JSON: something else than the gateway sent it"
        ) from error
    if not isinstance(answer, dict):
        raise TransportError("the answer is not a JSON object")
    return answer


def _refusal(response: http.client.HTTPResponse, content: bytes) -> Refused:
    """The refusal, with a code only where the body is a problem as the gateway writes them."""
    try:
        problem = json.loads(content)
    except (ValueError, RecursionError):
        problem = None
    if not isinstance(problem, dict) or problem.get("status") != response.status:
        problem = {}
    code = problem.get("code")
    location = response.getheader("Location", "")
    if 300 <= response.status < 400 and location:
        detail = (
            f"it redirects to {_shown(location)}, which is not followed;"
            " if the gateway is there, set server to it"
        )
    else:
        detail = str(problem.get("detail") or response.reason or "")
    wait = response.getheader("Retry-After", "").strip()
    return Refused(
        response.status,
        code if isinstance(code, str) else "",
        _one_line(detail)[:LONGEST_DETAIL],
        float(wait[:9]) if wait.isdecimal() and wait.isascii() else None,
    )


def _shown(location: str) -> str:
    """A redirect's target without what may be secret in it."""
    place = location.partition("?")[0].partition("#")[0]
    scheme, separator, rest = place.partition("//")
    host, slash, path = rest.partition("/")
    return (scheme + separator + host.rpartition("@")[2] + slash + path)[:200]


def _one_line(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _describe(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not trusted: {error.verify_message}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return _one_line(str(error))[:LONGEST_DETAIL] or type(error).__name__
