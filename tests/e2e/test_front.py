"""The shipped nginx files in front of everything: pages, agents, a task, slow clients."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.e2e.client import Client, step, wait_until
from tests.e2e.stack import Stack
from tests.front import Front, nginx_in_front
from tests.slow_clients import manners, slow_clients, slowest_answer

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

NODE = "behind-nginx"
SLOW = 100
HOLD_SECONDS = 2.0  # the stack's


@pytest.fixture
def front(stack: Stack, tmp_path: Path) -> Iterator[Front]:
    ports = (stack.addresses.web_port, stack.addresses.gateway_port)
    with nginx_in_front(tmp_path, web_port=ports[0], gateway_port=ports[1]) as running:
        yield running


@pytest.fixture
def agent(stack: Stack, front: Front) -> Iterator[str]:
    """An agent that knows nothing but the front; returns its node."""
    stack.start_agent(
        NODE,
        stack.enrollment_token(auto_approve=True),
        DM_AGENT_SERVER=front.url,
        DM_AGENT_ALLOW_HTTP="false",
        DM_AGENT_CA_FILE=str(front.certificate),
    )
    yield NODE
    stack.remove_agent(NODE)


def test_pages_and_what_is_not_passed_on(front: Front) -> None:
    with httpx.Client(base_url=front.url, verify=front.tls, trust_env=False) as browser:
        page = browser.get("/login")
        assert page.status_code == 200
        assert "csrfmiddlewaretoken" in page.text
        for path in ("/metrics", "/metrics/"):
            assert browser.get(path).status_code == 404
        missing = browser.get("/static/no-such-file.0123456789ab.css")
        assert missing.status_code == 404
        assert "immutable" not in missing.headers.get("cache-control", "")
        upgrade = {"connection": "upgrade", "upgrade": "websocket"}
        assert browser.get("/agent/v1/poll", headers=upgrade).status_code == 405
        assert browser.post("/login", content=b"x" * 11_000_000).status_code == 413
    plain = httpx.get(
        f"http://127.0.0.1:{front.plain_port}/tasks?page=2",
        headers={"host": "manager.example"},
        trust_env=False,
    )
    assert plain.status_code == 308
    assert plain.headers["location"] == "https://manager.example/tasks?page=2"


def test_an_agent_works_through_it(stack: Stack, api: Client, front: Front, agent: str) -> None:
    stack.wait_online(agent)
    wait_until(
        lambda: any(took >= 0.8 * HOLD_SECONDS for _, took in front.requests("/agent/v1/poll")),
        15.0,
        "a poll to be held through nginx",
    )
    body = {
        "name": "through nginx",
        "target": stack.target(agent),
        "commands": [step("echo through nginx; head -c 200000 /dev/zero | tr '\\0' a")],
    }
    with httpx.Client(
        base_url=f"{front.url}/api/v1/",
        verify=front.tls,
        headers={"authorization": f"Bearer {stack.token}"},
        trust_env=False,
    ) as people:
        task_id = people.post("tasks", json=body).json()["task_id"]
        began = time.monotonic()
        assert people.post(f"tasks/{task_id}/start").status_code == 200
        wait_until(
            lambda: people.get(f"tasks/{task_id}").json()["status"] == "completed",
            10.0,
            "the task to complete",
        )
        assert time.monotonic() - began < 5.0
    statuses = {
        status for path in ("poll", "report") for status, _ in front.requests(f"/agent/v1/{path}")
    }
    assert statuses == {200}


def test_slow_clients_are_nginxs_to_wait_for(stack: Stack, front: Front) -> None:
    kinds = manners("/api/v1/tasks", "/static/admin/js/vendor/jquery/jquery.js", 9_000_000)
    process = stack.child("web").process
    assert process is not None
    web = psutil.Process(process.pid)
    with slow_clients(front.port, SLOW, kinds, tls=front.tls):
        slowest = slowest_answer(
            front.port,
            ["/healthz", "/api/v1/tasks"],
            seconds=5.0,
            headers={"authorization": f"Bearer {stack.token}"},
            tls=front.tls,
        )
        held = [
            connection
            for worker in web.children()
            for connection in worker.net_connections("tcp")
            if connection.status == psutil.CONN_ESTABLISHED
            and connection.laddr.port == stack.addresses.web_port
        ]
    assert slowest < 1.0
    assert len(held) < SLOW / 2
