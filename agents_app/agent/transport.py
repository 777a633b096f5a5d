"""Requests to the gateway: one keep-alive connection a loop, JSON in and out, typed failures."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import threading
from typing import Any
from urllib.parse import urlsplit

from agents_app.agent import AGENT_VERSION
from agents_app.agent.config import ConfigError, Settings
from agents_app.protocol import PREFIX

CONNECT_SECONDS = 10.0
LARGEST_ANSWER_BYTES = 64 * 1024 * 1024
READ_BYTES = 65536


class TransportError(Exception):
    """No answer came: the request may or may not have been served."""


class StaleConnectionError(TransportError):
    """A connection that was kept open had been shut by the other side; a new one may do at once."""


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


class Channel:
    """One connection, for one thread. ``abort`` alone may be called from another."""

    def __init__(self, settings: Settings) -> None:
        """Connects at the first request. Raises ConfigError if the CA file is no good."""
        url = urlsplit(settings.server)
        self._secure = url.scheme == "https"
        self._host = url.hostname or ""
        self._port = url.port
        self._prefix = url.path.rstrip("/") + PREFIX
        self._context: ssl.SSLContext | None = None
        if self._secure:
            try:
                self._context = ssl.create_default_context(cafile=settings.ca_file or None)
            except (OSError, ssl.SSLError) as error:
                raise ConfigError(f"ca_file {settings.ca_file} holds no certificate") from error
            self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None
        self._aborted = False

    def post(
        self, name: str, body: bytes, *, credential: str = "", timeout_seconds: float
    ) -> dict[str, Any]:
        """Send JSON to an endpoint; the answer's object. Raises Refused or TransportError."""
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "User-Agent": f"devops-agent/{AGENT_VERSION}",
        }
        if credential:
            headers["Authorization"] = f"Bearer {credential}"
        reused = self._connection is not None
        try:
            connection = self._connect()
            if connection.sock is not None:
                connection.sock.settimeout(timeout_seconds)
            connection.request("POST", self._prefix + name, body=body, headers=headers)
            response = connection.getresponse()
            content = _read(response)
            if response.will_close or not response.isclosed():
                self.close()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if reused and isinstance(
                error, (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError)
            ):
                raise StaleConnectionError(_describe(error)) from error
            raise TransportError(_describe(error)) from error
        if response.status in (200, 201):
            return _object(content)
        raise _refusal(response, content)

    def _connect(self) -> http.client.HTTPConnection:
        if self._connection is not None:
            return self._connection
        connection: http.client.HTTPConnection
        if self._context is not None:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=CONNECT_SECONDS, context=self._context
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=CONNECT_SECONDS)
        try:
            connection.connect()
        except OSError:
            # A failed handshake leaves the socket below it open.
            connection.close()
            raise
        with self._lock:
            if self._aborted:
                connection.close()
                raise ConnectionAbortedError("the agent is stopping")
            self._connection = connection
        return connection

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
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


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
    except ValueError as error:
        raise TransportError("the answer is not JSON") from error
    if not isinstance(answer, dict):
        raise TransportError("the answer is not a JSON object")
    return answer


def _refusal(response: http.client.HTTPResponse, content: bytes) -> Refused:
    try:
        problem = json.loads(content)
    except ValueError:
        problem = None
    if not isinstance(problem, dict):
        problem = {}
    wait = response.getheader("Retry-After", "").strip()
    return Refused(
        response.status,
        str(problem.get("code") or ""),
        str(problem.get("detail") or response.reason or "")[:300],
        float(wait) if wait.isdigit() else None,
    )


def _describe(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not trusted: {error.verify_message}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
