"""A host's life: enrolled, approved, working, disabled, enabled again, its credential revoked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.client import Client, step, wait_until
from tests.e2e.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

WRONG_CONFIGURATION = 78  # EX_CONFIG of sysexits.h


@pytest.fixture
def new_node(stack: Stack, request: pytest.FixtureRequest) -> Iterator[str]:
    """A node whose agent the test starts."""
    node = f"new-{request.node.name.replace('_', '-')[:40]}"
    yield node
    stack.remove_agent(node)


def heartbeat(stack: Stack, credential: str) -> httpx.Response:
    return httpx.post(
        f"{stack.addresses.gateway_url}/agent/v1/heartbeat",
        headers={"Authorization": f"Bearer {credential}"},
        json={},
        trust_env=False,
    )


def assert_no_target(api: Client, host_id: str) -> None:
    """A task for this host is refused, and the answer names it."""
    task = {"name": "x", "commands": [step("true")], "target": {"hosts": [host_id]}}
    refused = api.ask("POST", "tasks", json=task)
    assert (refused.status_code, refused.json()["code"]) == (400, "unknown_target")
    assert host_id in str(refused.json()["errors"]["target.hosts"])


def test_from_enrolment_to_revocation(
    stack: Stack, api: Client, marks: Path, new_node: str
) -> None:
    secret = stack.enrollment_token(auto_approve=False)
    stack.start_agent(new_node, secret)
    host_id = stack.host_id(new_node)
    target = {"hosts": [host_id]}

    # Pending: seen, but given nothing and accepted in no target.
    pending = api.get("pending-hosts")["results"]
    assert [one["hostname"] for one in pending] == [new_node]
    assert_no_target(api, host_id)
    assert heartbeat(stack, stack.credential(new_node)).json()["code"] == "host_pending"

    # Approved: it works, without a restart of anything.
    api.post(f"pending-hosts/{host_id}/approve")
    stack.wait_online(new_node)
    first = api.start_task("First work", [step("echo hello")], target=target)
    assert first.wait() == "completed"
    assert first.output(new_node)["stdout"]["head"] == "hello\n"

    # Disabled while something waits for it: it is not handed out until the host is enabled.
    stack.kill_process(new_node)
    mark = marks / "ran"
    waits = api.start_task("For later", [step(f"echo ran >> {mark}")], target=target)
    waits.wait_row(new_node, "pending")
    assert api.post(f"hosts/{host_id}/disable")["status"] == "disabled"
    stack.start_process(new_node)
    wait_until(lambda: "host_disabled" in stack.log(new_node), 20.0, "the agent to be refused")
    assert not mark.exists()
    assert heartbeat(stack, stack.credential(new_node)).status_code == 403
    assert api.post(f"hosts/{host_id}/enable")["status"] == "active"
    assert waits.wait(30.0) == "completed"
    assert mark.read_text() == "ran\n"

    # Revoked: refused at once, though the gateway knew the credential a moment ago.
    assert heartbeat(stack, stack.credential(new_node)).status_code == 200
    api.post(f"hosts/{host_id}/revoke-credential")
    answer = wait_until(
        lambda: (seen := heartbeat(stack, stack.credential(new_node))).status_code == 401 and seen,
        2.0,
        "the credential to be refused",
    )
    assert answer.json()["code"] == "credential_invalid"
    wait_until(lambda: "credential_invalid" in stack.log(new_node), 20.0, "the agent to be told")
    task = api.start_task("For nobody", [step(f"echo twice >> {mark}")], target=target)
    task.wait_row(new_node, "pending")
    task.cancel()
    assert task.wait() == "canceled"
    assert mark.read_text() == "ran\n"


def test_a_token_that_was_revoked_enrols_nobody(stack: Stack, api: Client, new_node: str) -> None:
    made = api.post("enrollment-tokens", {"name": "revoked"})
    assert api.ask("DELETE", f"enrollment-tokens/{made['token_id']}").status_code == 204
    stack.start_agent(new_node, made["secret"])
    agent = stack.child(new_node)
    wait_until(lambda: agent.exit_status is not None, 20.0, "the agent to give up")
    assert agent.exit_status == WRONG_CONFIGURATION, "or the unit would start it again and again"
    assert "revoked" in stack.log(new_node)
    assert api.get("pending-hosts")["results"] == []
