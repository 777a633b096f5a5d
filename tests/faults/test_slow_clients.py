"""Slow clients have their limits, and nobody else has to wait for them."""

from __future__ import annotations

import io
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from django.core.management import call_command
from pytest_django import DjangoDbBlocker

from tests.gateway_process import GatewayProcess, WebProcess, serving
from tests.slow_clients import Manner, manners, slow_clients, slowest_answer

CONNECTIONS = 300
HEAD, BODY = 1.0, 2.0
# A sweep is up to a second late, and these machines are busy.
SLACK = 3.0
LIMITS = {"DM_HEAD_TIMEOUT_SECONDS": str(HEAD), "DM_BODY_TIMEOUT_SECONDS": str(BODY)}
LARGE_FILE = "/static/admin/js/vendor/jquery/jquery.js"
LATE = b"HTTP/1.1 408 Request Timeout"
# Each manner's time limit, and what its client hears.
HEADS = {"a lone letter": LATE, "drips a head": LATE, "drips header lines": LATE}
BODIES = {
    "drips a body": LATE,
    "announces a body": LATE,
    "sends a part of a body": LATE,
    "half a small body": LATE,
}


@pytest.fixture(scope="module")
def web(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[GatewayProcess]:
    log = tmp_path_factory.mktemp("web") / "web.log"
    with serving(django_db_blocker, log, WebProcess, **LIMITS) as process:
        yield process


@pytest.fixture(scope="module")
def gateway(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[GatewayProcess]:
    log = tmp_path_factory.mktemp("gateway") / "gateway.log"
    with serving(django_db_blocker, log, **LIMITS) as process:
        yield process


@pytest.fixture
def token(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("DM_ADMIN_PASSWORD", "a-password-for-a-test")
    printed = io.StringIO()
    call_command("first_admin", "admin", stdout=printed)
    return str(json.loads(printed.getvalue())["token"])


@pytest.mark.timeout(120)
def test_nobody_waits_for_the_slow_clients_of_web(web: GatewayProcess, token: str) -> None:
    kinds = manners("/api/v1/tasks", LARGE_FILE, 10_000_000)
    asked = ["/healthz", "/api/v1/tasks"]
    headers = {"authorization": f"Bearer {token}"}
    before = slowest_answer(web.port, asked, seconds=2, headers=headers)
    with slow_clients(web.port, CONNECTIONS, kinds) as slow:
        slowest = slowest_answer(web.port, asked, seconds=2 * (BODY + SLACK), headers=headers)
    # what else the machine does counts for both
    assert slowest < 1.0 + before
    for name in ("says nothing", *HEADS):
        assert slow.longest(name) < HEAD + SLACK, name
    for name in (*BODIES, "never reads"):
        assert slow.longest(name) < HEAD + BODY + SLACK, name
    for name, heard in {**HEADS, **BODIES}.items():
        assert slow.answers(name) == {heard}, name
    assert slow.answers("says nothing") == {b""}


@pytest.mark.timeout(120)
def test_nobody_waits_for_the_slow_clients_of_the_gateway(gateway: GatewayProcess) -> None:
    kinds = manners("/agent/v1/enroll", "/healthz", 60_000)
    asked = ["/healthz", "/readyz"]
    before = slowest_answer(gateway.port, asked, seconds=2, headers={})
    with slow_clients(gateway.port, CONNECTIONS, kinds) as slow:
        slowest = slowest_answer(gateway.port, asked, seconds=2 * (BODY + SLACK), headers={})
    assert slowest < 1.0 + before
    for name in ("says nothing", *HEADS):
        assert slow.longest(name) < HEAD + SLACK, name
    for name in (*BODIES, "never reads"):
        assert slow.longest(name) < HEAD + BODY + SLACK, name
    for name, heard in {**HEADS, **BODIES}.items():
        assert slow.answers(name) == {heard}, name
    assert slow.answers("says nothing") == {b""}


def request_of(port: int, data: bytes) -> bytes:
    """Send bytes, and return all that the server says until it closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(data)
        heard = b""
        while piece := sock.recv(65536):
            heard += piece
    return heard


@pytest.mark.parametrize("kind", ["web", "gateway"])
@pytest.mark.parametrize(
    "sent", [b"G", b"POST /agent/v1/enroll HTTP/1.1\r\ncontent-length: 4\r\n\r\n{"]
)
def test_late_is_told_as_a_problem(request: pytest.FixtureRequest, kind: str, sent: bytes) -> None:
    process = request.getfixturevalue(kind)
    head, _, body = request_of(process.port, sent).partition(b"\r\n\r\n")
    assert head.startswith(LATE)
    assert b"application/problem+json" in head
    assert b"connection: close" in head.lower()
    assert json.loads(body)["code"] == "request_timeout"


@pytest.mark.parametrize("kind", ["web", "gateway"])
def test_a_body_that_comes_steadily_has_its_time(request: pytest.FixtureRequest, kind: str) -> None:
    """More than 16 KiB a second, for longer than the limit."""
    process = request.getfixturevalue(kind)
    path = {"web": "/api/v1/tasks", "gateway": "/agent/v1/enroll"}[kind]
    piece, count = b" " * 6000, 10
    if kind == "gateway":
        piece = b" " * 6400
    with socket.create_connection(("127.0.0.1", process.port), timeout=20) as sock:
        head = (
            f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(piece) * count}\r\n"
        )
        sock.sendall(head.encode() + b"content-type: application/json\r\n\r\n")
        for _ in range(count):
            sock.sendall(piece)
            time.sleep(BODY * 1.5 / count)
        assert sock.recv(100).split(b" ")[1] in {b"400", b"401"}


def test_large_bodies_have_one_budget(tmp_path: Path, transactional_db: None) -> None:
    process = WebProcess(tmp_path / "web.log", DM_WEB_BUFFER_BYTES=str(8 * 1024 * 1024))
    process.start()
    worker = psutil.Process(process.worker_pid())
    before = worker.memory_info().rss
    head = (
        b"POST /api/v1/auth/login HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10000000\r\n\r\n"
    )
    kinds = [Manner("nearly all of a body", head + b" " * 2_000_000)]
    try:
        with slow_clients(process.port, 40, kinds) as slow:
            for _ in range(100):
                if slow.ended["nearly all of a body"]:
                    break
                time.sleep(0.1)
            assert httpx.get(f"{process.url}/healthz").status_code == 200
            small = httpx.post(f"{process.url}/api/v1/auth/login", json={})
            assert small.status_code in {400, 401}
            assert worker.memory_info().rss - before < 30 * 1024 * 1024
            heard = slow.answers("nearly all of a body")
        assert heard == {b"HTTP/1.1 503 Service Unavailable"}
        for _ in range(100):
            large = httpx.post(f"{process.url}/api/v1/auth/login", content=b" " * 5_000_000)
            if large.status_code != 503:
                break
            time.sleep(0.1)
        assert large.status_code in {400, 413, 415}
    finally:
        process.stop()


def test_a_new_connection_takes_the_place_of_one_that_waits(
    tmp_path: Path, transactional_db: None
) -> None:
    process = WebProcess(tmp_path / "web.log", DM_WEB_MAX_CONNECTIONS="20")
    process.start()
    try:
        with slow_clients(process.port, 40, [Manner("says nothing"), Manner("speaks", b"G")]):
            for _ in range(5):
                assert httpx.get(f"{process.url}/healthz", timeout=5).status_code == 200
    finally:
        process.stop()
