"""What is answered before or beside a view carries the same policy, and problems stay problems."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from django.test import Client, override_settings
from pytest_django import DjangoDbBlocker

from devops_manager.access.models import Role, User
from devops_manager.lib.response_policy import content_policy
from tests.pages_world import html, visitor
from tests.queue_world import make_hosts, started_task
from tests.web_process import web_process

pytestmark = pytest.mark.django_db(transaction=True)

INLINE = re.compile(
    r"<style|<script(?![^>]*\bsrc=)|\sstyle=|\son[a-z]+=|javascript:", re.IGNORECASE
)


@pytest.fixture(scope="module")
def url(
    tmp_path_factory: pytest.TempPathFactory,
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[str]:
    with django_db_blocker.unblock():
        running = web_process(tmp_path_factory.mktemp("web") / "web.log")
    with running as address:
        yield address


def guarded(response: Any) -> None:
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert "unsafe" not in response.headers["Content-Security-Policy"]
    assert "no-store" in response.headers["Cache-Control"]


PAGES = [
    "/",
    "/tasks",
    "/hosts",
    "/login",
    "/nothing",
    "/api/v1/me",
    "/api/v1/tasks",
    "/api/schema",
]
PAGES += [
    "/api/docs",
    "/api/docs?script=",
    "/admin/",
    "/admin/access/auditevent/",
    "/admin/nothing",
]
PAGES += ["/healthz", "/readyz", "/tasks?status=odd", "/api/v1/nothing", "/tasks/new", "/metrics"]


@pytest.mark.parametrize("page", PAGES)
def test_every_answer_carries_the_policy_and_is_kept_nowhere(page: str) -> None:
    started_task(make_hosts(1))
    for client in (visitor(Role.ADMIN, staff=True), Client()):
        guarded(client.get(page))
        guarded(client.post(page))


def test_what_middleware_answers_carries_it_too() -> None:
    client = Client(raise_request_exception=False)
    with override_settings(SECURE_SSL_REDIRECT=True):
        moved = client.get("/tasks")
        assert moved.status_code == 301
        guarded(moved)
    strange = client.get("/tasks", headers={"Host": "elsewhere.example"})
    assert strange.status_code == 400
    guarded(strange)
    guarded(client.post("/api/v1/auth/login", headers={"Transfer-Encoding": "chunked"}))
    guarded(client.get("/tasks?name=" + "x" * 4000))
    guarded(client.get("/tasks?name=%00"))
    guarded(client.get("/admin"))


def test_a_defect_is_answered_with_it() -> None:
    client = visitor(Role.ADMIN)
    client.raise_request_exception = False
    with override_settings(ROOT_URLCONF="tests.integration.broken_urls"):
        for page in ("/broken", "/api/broken"):
            answer = client.get(page)
            assert answer.status_code == 500
            guarded(answer)


def test_files_for_everybody_may_be_kept(url: str) -> None:
    for path in ("/static/css/app.css", "/agent/devops-agent.pyz", "/agent/install.sh"):
        answer = httpx.get(f"{url}{path}")
        assert answer.status_code == 200, path
        assert "no-store" not in answer.headers.get("Cache-Control", ""), path
    guarded(httpx.get(f"{url}/static/nothing.css"))


def test_nothing_inline_is_left_in_admin_and_documentation() -> None:
    make_hosts(1)
    client = visitor(Role.ADMIN, staff=True)
    client_user = client.get("/api/v1/me").json()["username"]
    people = User.objects.filter(username=client_user)
    people.update(is_superuser=True)
    pages = ["/api/docs", "/admin/", "/admin/access/user/", "/admin/hosts_app/host/"]
    pages += [f"/admin/access/user/{people.get().pk}/change/", "/admin/hosts_app/hostgroup/add/"]
    pages += ["/admin/tasks_app/task/", "/password"]
    for page in pages:
        answer = client.get(page)
        assert answer.status_code == 200, page
        assert not INLINE.search(html(answer)), (page, INLINE.search(html(answer)))
    for page in ("/admin/access/auditevent/", "/admin/access/apitoken/"):
        answer = client.get(page)
        assert answer.status_code == 200, page
        for found in re.findall(r"<style>(.*?)</style>", html(answer), re.DOTALL):
            digest = base64.b64encode(hashlib.sha256(found.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in content_policy(page)


@pytest.mark.parametrize("characters", [3970, 4060, 4200, 8000, 8300, 60_000])
def test_a_long_address_gets_a_problem_at_every_length(url: str, characters: int) -> None:
    path = "/api/v1/tasks?name=" + "x" * (characters - len("/api/v1/tasks?name="))
    answer = httpx.get(url + path)
    status = 401 if characters <= 4000 else 414
    assert (answer.status_code, answer.headers["Content-Type"]) == (
        status,
        "application/problem+json",
    )
    assert answer.json()["status"] == status
    guarded(answer)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /api/v1/tasks HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 431),
        (b"GET /api/v1/tasks HTTP/9.9\r\nHost: x\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHo st: x\r\n\r\n", 400),
    ],
)
def test_what_cannot_be_parsed_gets_a_problem(url: str, sent: bytes, status: int) -> None:
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=20) as client:
        client.sendall(sent)
        answer = b""
        while chunk := client.recv(65_536):
            answer += chunk
    head, _blank, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), head
    lines = head.decode().split("\r\n")[1:]
    headers = {name.title(): value for name, value in (line.split(": ", 1) for line in lines)}
    assert headers["Content-Type"] == "application/problem+json"
    guarded(httpx.Response(status, headers=headers))
    assert b'"code"' in body
