"""HTTP/1.1 byte by byte: what the web process's worker makes of a connection."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from django.contrib.staticfiles import finders
from pytest_django import DjangoDbBlocker

from devops_manager.lib.problem import body_of
from tests.gateway_process import GatewayProcess, WebProcess, serving
from tests.protocol.test_connections import Line

HEALTH = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"
LOGIN = b"POST /api/v1/auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
LARGE_FILE = "admin/js/vendor/jquery/jquery.js"


@pytest.fixture(scope="module")
def web(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[GatewayProcess]:
    log = tmp_path_factory.mktemp("web") / "web.log"
    with serving(django_db_blocker, log, WebProcess) as process:
        yield process


@pytest.fixture
def line(web: GatewayProcess, transactional_db: None) -> Iterator[Line]:
    line = Line(web.port)
    yield line
    line.socket.close()


@pytest.fixture
def healthy(web: GatewayProcess) -> bytes:
    """The bytes of a good ``/healthz``."""
    return json.dumps(web.healthy).encode()


def test_a_connection_is_used_again(line: Line, healthy: bytes) -> None:
    for _ in range(3):
        line.send(HEALTH)
        assert line.answer()[::2] == (200, healthy)


def test_a_request_may_come_in_pieces(line: Line) -> None:
    line.send(*(HEALTH[at : at + 7] for at in range(0, len(HEALTH), 7)))
    assert line.answer()[0] == 200


def test_requests_that_come_at_once_are_answered_in_turn(line: Line) -> None:
    line.send(HEALTH + LOGIN + b"content-length: 2\r\n\r\n{}" + b"\r\n" + HEALTH)
    assert [line.answer()[0] for _ in range(3)] == [200, 400, 200]


def test_a_body_may_come_in_pieces(line: Line) -> None:
    line.send(LOGIN + b"connection: close\r\ncontent-length: 2\r\n\r\n{", b"}")
    status, headers, _ = line.answer()
    assert (status, headers["connection"]) == (400, "close")
    assert line.closed


def test_a_client_that_asks_first_is_told_to_go_on(line: Line) -> None:
    line.send(LOGIN + b"expect: 100-continue\r\ncontent-length: 2\r\n\r\n")
    assert line.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 ")
    line.send(b"{}")
    assert line.answer()[0] == 400


def test_a_body_that_is_refused_by_its_length_is_not_asked_for(line: Line) -> None:
    line.send(LOGIN + b"expect: 100-continue\r\ncontent-length: 20000000\r\n\r\n")
    status, headers, _ = line.answer()
    assert (status, headers["connection"]) == (413, "close")
    assert line.closed


def test_http_1_0_gets_its_answer_and_the_end(line: Line, healthy: bytes) -> None:
    line.send(b"GET /healthz HTTP/1.0\r\nhost: localhost\r\n\r\n")
    assert line.answer()[::2] == (200, healthy)
    assert line.closed


def test_head_has_the_length_and_no_body(line: Line, healthy: bytes) -> None:
    line.send(HEALTH.replace(b"GET", b"HEAD"))
    assert f"content-length: {len(healthy)}".encode() in line.until(b"\r\n\r\n").lower()
    line.send(HEALTH)
    assert line.answer()[2] == healthy


@pytest.mark.parametrize(
    ("request_bytes", "status", "code"),
    [
        (b"what is this\r\n\r\n", 400, "invalid_request"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", 400, "invalid_request"),
        (b"GET / HTTP/1.0\nhost: x\n\n", 400, "invalid_request"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n", 400, "invalid_request"),
        (b"GET / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", 400, "invalid_request"),
        (
            b"POST / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
            400,
            "invalid_request",
        ),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: br\r\n\r\n", 501, "transfer_coding_unsupported"),
        (b"GET / HTTP/1.1\r\nexpect: cake\r\n\r\n", 417, "expectation_failed"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nhost: x\r\n\r\n", 414, "address_too_long"),
        (b"GET /" + b"a" * 70_000, 414, "address_too_long"),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 9000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 200 + b"\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000, 431, "headers_too_large"),
    ],
    ids=lambda value: value[:24].decode("latin-1") if isinstance(value, bytes) else None,
)
def test_what_cannot_be_served_is_refused_as_a_problem(
    line: Line, request_bytes: bytes, status: int, code: str
) -> None:
    line.send(request_bytes)
    answered, headers, body = line.answer()
    assert (answered, headers["connection"]) == (status, "close")
    assert headers["content-type"] == "application/problem+json"
    problem = json.loads(body)
    assert problem["code"] == code
    assert problem.keys() == body_of(status, code, "").keys()
    assert line.closed


def test_a_body_that_is_refused_unread_does_not_lose_the_answer(
    web: GatewayProcess, transactional_db: None
) -> None:
    for content, status in [(b" " * 30_000_000, 413), (iter([b" " * 1_000_000] * 3), 411)]:
        answer = httpx.post(
            f"{web.url}/api/v1/auth/login",
            content=content,
            headers={"content-type": "application/json"},
        )
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["connection"] == "close"


def test_a_slow_reader_gets_all_of_a_large_answer(
    web: GatewayProcess, transactional_db: None
) -> None:
    path = finders.find(LARGE_FILE)
    assert isinstance(path, str)
    content = Path(path).read_bytes()
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", web.port))
    get = f"GET /static/{LARGE_FILE} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    sock.sendall(get.encode())
    assert httpx.get(f"{web.url}/healthz").status_code == 200
    heard = b""
    while piece := sock.recv(4096):
        heard += piece
    sock.close()
    body = heard.partition(b"\r\n\r\n")[2]
    assert hashlib.sha256(body).digest() == hashlib.sha256(content).digest()


def test_a_worker_that_ends_finishes_what_it_has(tmp_path: Path, transactional_db: None) -> None:
    process = WebProcess(tmp_path / "web.log").start()
    idle, sending = Line(process.port), Line(process.port)
    idle.send(HEALTH)
    idle.answer()
    sending.send(LOGIN + b"content-length: 2\r\n\r\n{")
    process.terminate()
    assert idle.closed
    sending.send(b"}")
    status, headers, _ = sending.answer()
    assert (status, headers["connection"]) == (400, "close")
    assert process.wait() == 0
    for line in (idle, sending):
        line.socket.close()
