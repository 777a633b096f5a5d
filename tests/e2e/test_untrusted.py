"""Faults 19 and 20: fields that only the server sets, and output that would like to be more."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.client import Client, step
from tests.e2e.stack import ADMIN, PASSWORD, Stack
from tests.protocol.client import send

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

FENCE = "01980000-0000-4000-8000-000000000001"
FORGED_TASK: list[dict[str, Any]] = [
    {"status": "completed"},
    {"fence": FENCE},
    {"created_by": "somebody else"},
    {"approved": True},
    {"task_id": FENCE},
    {"total_hosts": 0},
    {"completed_hosts": 3},
    {"revision": 0},
    {"name": "a good name", "status": "running"},
]
FORGED_HOST: list[dict[str, Any]] = [
    {"status": "active"},
    {"host_id": FENCE},
    {"credential_generation": 0},
    {"approved": True},
    {"max_concurrency": 3, "status": "active"},
]


@pytest.mark.parametrize("how", ["PATCH", "PUT", "POST"])
def test_a_task_takes_no_field_that_only_the_server_sets(
    stack: Stack, api: Client, how: str
) -> None:
    body = {"name": "Honest", "commands": [step("true")], "target": stack.target("node-1")}
    task = api.create_task(body["name"], body["commands"], target=body["target"])
    before, count = api.get(task.path), api.get("tasks", size=1)["count"]
    for forged in FORGED_TASK:
        sent = forged if how == "PATCH" else {**body, **forged}
        answer = api.ask(how, "tasks" if how == "POST" else task.path, json=sent)
        assert answer.status_code == 400, (forged, answer.text)
        assert set(answer.json()["errors"]) == set(forged) - {"name"}, forged
    assert api.get(task.path) == before
    assert api.get("tasks", size=1)["count"] == count
    assert api.ask("DELETE", task.path).status_code == 204


def test_a_host_is_not_approved_by_writing_that_it_is(stack: Stack, api: Client) -> None:
    token = stack.enrollment_token(auto_approve=False)
    about = {"hostname": "uninvited", "os": "", "arch": "", "machine_id": "uninvited"}
    port = stack.addresses.gateway_port
    asked = {"token": token, "status": "active", "approved": True, **about}
    enrolled = send(port, "/agent/v1/enroll", asked).json
    assert enrolled["status"] == "pending"
    host = f"hosts/{enrolled['host_id']}"
    for forged in FORGED_HOST:
        answer = api.ask("PATCH", host, json=forged)
        assert answer.status_code in {400, 404}, (forged, answer.text)
    waiting = api.get("pending-hosts")["results"]
    assert [one["host_id"] for one in waiting] == [enrolled["host_id"]]
    bearer = {"Authorization": f"Bearer {enrolled['credential']}"}
    assert send(port, "/agent/v1/heartbeat", {}, headers=bearer).code == "host_pending"
    api.post(f"pending-hosts/{enrolled['host_id']}/reject")


# A title for the terminal, a link, markup, a reversed name, a formula, colours.
EVIL = (
    "\x1b]0;owned\x07\x1b]8;;https://evil.example\x07click\x1b]8;;\x07\n"
    "<script>alert(1)</script><img src=x onerror=alert(1)>\n"
    "\u202egnp.exe\u2066\u200f\n"
    "=cmd|' /C calc'!A0\n@SUM(1+1)\n+1\n-1\n"
    "\x1b[2J\x1b[31mred\x1b[0m\x9b31m\x00\n"
    "]]>--></textarea></pre></html>\n"
)
INERT = ("&lt;script&gt;alert(1)&lt;/script&gt;", "⟦U+202E⟧gnp.exe", "=cmd|")
ALIVE = ("\x1b", "\x07", "\x9b", "\x00", "\u202e", "\u2066", "\u200f")
MARKUP = ("<script>alert", "<img src=x", "</pre></html>")


@pytest.fixture
def person(stack: Stack) -> Iterator[httpx.Client]:
    """A person who has signed in."""
    with httpx.Client(base_url=stack.addresses.web_url, timeout=10.0, trust_env=False) as client:
        body = {"username": ADMIN, "password": PASSWORD}
        assert client.post("/api/v1/auth/login", json=body).status_code == 200
        yield client


def test_output_is_inert_wherever_it_is_shown_or_kept(
    stack: Stack, api: Client, person: httpx.Client
) -> None:
    script = f"import sys\nfor to in (sys.stdout, sys.stderr): to.buffer.write({EVIL.encode()!r})\n"
    printing = step(script, kind="script", interpreter="/usr/bin/env python3")
    task = api.start_task("Evil", [printing], target=stack.target("node-1"))
    assert task.wait() == "completed"
    row = task.row("node-1")
    host = f"/tasks/{task.task_id}/hosts/{stack.host_id('node-1')}"
    # Open pages follow by asking for themselves again.
    pages = [person.get(page) for page in (f"/tasks/{task.task_id}/output", host)]
    for answer in pages:
        page = answer.url.path
        assert answer.status_code == 200
        assert [text for text in INERT if text not in answer.text] == [], page
        assert [text for text in (*ALIVE, *MARKUP) if text in answer.text] == [], page

    # A program gets what was printed, in a shape that no browser renders.
    told = api.ask("GET", f"{task.path}/logs", params={"size": 1})
    where = {"command": row["command_id"], "host": stack.host_id("node-1")}
    raw = api.ask("GET", f"{task.path}/logs/raw", params=where)
    stream = person.get(f"{host}/{row['command_id']}/stdout")
    assert told.headers["Content-Type"] == "application/json"
    assert told.json()["results"][0]["stdout"]["head"].startswith("\x1b]0;owned")
    for file in (raw, stream):
        assert file.content == EVIL.encode()
        assert file.headers["Content-Type"] == "application/octet-stream"
        assert file.headers["Content-Disposition"].startswith("attachment")
        assert not file.headers["Content-Disposition"].rstrip('"').endswith((".html", ".csv"))
    for answer in (told, raw, stream, *pages):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
