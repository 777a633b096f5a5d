"""HTTP/1.1 byte by byte: what the gateway makes of a connection."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest

from tests.gateway_process import GatewayProcess

HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


class Line:
    """A connection to the gateway, as bytes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=15)

    def send(self, *pieces: bytes) -> None:
        """Send the pieces as packets of their own."""
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            self.socket.sendall(piece)
            time.sleep(0.02)  # the next piece is to arrive by itself; nothing waits for this

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Read one answer with a length."""
        head = self.until(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        body = self.exactly(int(headers.get("content-length", "0")))
        return int(lines[0].split()[1]), headers, body

    def until(self, end: bytes) -> bytes:
        data = b""
        while not data.endswith(end):
            piece = self.socket.recv(1)
            assert piece, f"closed after {data!r}"
            data += piece
        return data

    def exactly(self, length: int) -> bytes:
        data = b""
        while len(data) < length:
            data += self.socket.recv(length - len(data))
        return data

    @property
    def closed(self) -> bool:
        """Whether the server closes, without another byte."""
        return self.socket.recv(1) == b""


@pytest.fixture
def healthy(gateway: GatewayProcess) -> bytes:
    """What the gateway answers to HEALTH."""
    return json.dumps(gateway.healthy, separators=(",", ":")).encode()


@pytest.fixture
def line(gateway: GatewayProcess) -> Iterator[Line]:
    line = Line(gateway.port)
    yield line
    line.socket.close()


def post(body: bytes, *headers: bytes) -> bytes:
    lines = (b"POST /agent/v1/heartbeat HTTP/1.1", b"host: x", *headers)
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def test_a_connection_is_used_again(line: Line, healthy: bytes) -> None:
    for _ in range(3):
        line.send(HEALTH)
        status, headers, body = line.answer()
        assert (status, body) == (200, healthy)
        assert "connection" not in headers
        assert "date" in headers
        assert "server" not in headers


def test_a_request_may_come_in_pieces(line: Line) -> None:
    line.send(*(HEALTH[at : at + 7] for at in range(0, len(HEALTH), 7)))
    assert line.answer()[0] == 200


def test_a_body_may_come_in_pieces_also_with_the_last_request(line: Line) -> None:
    line.send(post(b"{", b"connection: close", b"content-length: 2"), b"}")
    status, headers, _ = line.answer()
    assert (status, headers["connection"]) == (401, "close")
    assert line.closed


def test_what_comes_before_the_answer_is_not_read_and_closes(line: Line) -> None:
    line.send(HEALTH + HEALTH)
    status, headers, _ = line.answer()
    assert (status, headers["connection"]) == (200, "close")
    assert line.closed


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"what is this\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400),
        (b"GET http:// HTTP/1.1\r\nhost: x\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nx: " + b"y" * 40_000, 431),
        (b"GET /healthz HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", 400),
    ],
)
def test_what_cannot_be_served_is_refused(line: Line, request_bytes: bytes, status: int) -> None:
    line.send(request_bytes)
    answered, headers, _ = line.answer()
    assert (answered, headers["connection"]) == (status, "close")
    assert line.closed


def test_an_absolute_address_is_taken(line: Line) -> None:
    line.send(b"GET http://x/healthz?a=b HTTP/1.1\r\nhost: x\r\n\r\n")
    assert line.answer()[0] == 200


def test_http_1_0_gets_its_answer_and_the_end(line: Line, healthy: bytes) -> None:
    line.send(b"GET /healthz HTTP/1.0\r\n\r\n")
    status, headers, body = line.answer()
    assert (status, body, headers["connection"]) == (200, healthy, "close")
    assert line.closed


def test_head_has_the_length_and_no_body(line: Line, healthy: bytes) -> None:
    line.send(HEALTH.replace(b"GET", b"HEAD"))
    head = line.until(b"\r\n\r\n")
    assert f"content-length: {len(healthy)}".encode() in head
    line.send(HEALTH)
    assert line.answer()[2] == healthy


def test_a_client_that_asks_first_is_told_to_go_on(line: Line) -> None:
    line.send(post(b"", b"expect: 100-continue", b"content-length: 2"))
    assert line.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
    line.send(b"{}")
    assert line.answer()[0] == 401


def test_a_gateway_that_ends_closes_idle_connections(
    tmp_path_factory: pytest.TempPathFactory, transactional_db: None
) -> None:
    gateway = GatewayProcess(tmp_path_factory.mktemp("ending") / "gateway.log").start()
    line = Line(gateway.port)
    line.send(HEALTH)
    line.answer()
    gateway.terminate()
    assert line.closed
    line.socket.close()
    assert gateway.wait() == 0
