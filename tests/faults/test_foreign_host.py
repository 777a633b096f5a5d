"""Fault 7: a host that reaches for another host's attempt, by each way that there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from devops_manager.access.models import AuditEvent
from tasks_app import live_output
from tasks_app.models import Command, CommandHost, Task
from tests.factories import started_task
from tests.protocol.client import Agent, only, result

EMPTY_CHUNK = {"stream": "stdout", "offset": 0, "data": "forged"}


def everything() -> list[Any]:
    return [list(model.objects.order_by("pk").values()) for model in (Task, Command, CommandHost)]


def by_poll(thief: Agent, fence: str) -> None:
    for state in ("accepted", "running", "finished"):
        thief.holding = {fence: state}
        reply = thief.poll()
        assert (reply.status, reply.json["commands"], reply.json["cancel"]) == (200, [], [])


def by_report(thief: Agent, fence: str) -> None:
    for status in ("completed", "canceled", "interrupted"):
        (answer,) = thief.report(result(fence, status=status)).json["results"]
        # As for a fence that nobody has: an answer that differed would say that it is there.
        assert answer["verdict"] == "unknown"


def by_output(thief: Agent, fence: str) -> None:
    reply = thief.report(output=[{"fence": fence, **EMPTY_CHUNK}])
    assert [item["verdict"] for item in reply.json["output"]] == ["ignored"]


@pytest.mark.parametrize("reach", [by_poll, by_report, by_output])
@pytest.mark.parametrize("state", ["claimed", "running", "completed"])
def test_nothing_of_another_host_is_seen_or_changed(
    speak_for: Callable[..., Agent], reach: Callable[[Agent, str], None], state: str
) -> None:
    owner, thief = speak_for("web-1"), speak_for("web-2")
    started_task([owner.host])
    fence = only(owner.poll())
    if state != "claimed":
        owner.poll()
    if state == "completed":
        assert owner.verdict(fence) == "accepted"
    before = everything()
    reach(thief, fence)
    assert everything() == before
    assert live_output.read(UUID(fence), "stdout", 0) == (b"", 0)
    event = AuditEvent.objects.filter(action="host.foreign_fence").latest("pk")
    # By its public id, under which the page of the host shows what happened to it.
    assert (event.object_type, event.object_id) == ("host", str(thief.host.host_id))
    assert event.actor == f"agent:{thief.host.host_id}"
    assert fence in str(event.after)
    if state != "completed":
        assert owner.verdict(fence) == "accepted"
