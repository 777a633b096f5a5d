"""A fence leads to its row, and the upgrade to such fences waits until nothing is in flight."""

from __future__ import annotations

from importlib import import_module

import pytest
from django.db import connection

from tasks_app.models import CommandHost
from tasks_app.queue.fences import row_of
from tests.queue_world import FakeAgent, make_hosts, only, started_task

pytestmark = pytest.mark.django_db(transaction=True)

refuse_amid_work = import_module(
    "tasks_app.migrations.0006_a_fence_leads_to_its_row"
).refuse_amid_work


def test_a_fence_has_the_key_of_its_row_and_chance() -> None:
    (host,) = make_hosts(1)
    for _ in range(2):
        started_task([host])
    fences = [command.fence for command in FakeAgent(host).poll().commands]
    assert len(fences) == 2
    for fence in fences:
        assert row_of(fence) == CommandHost.objects.get(fence=fence).pk
        assert fence.version == 8
        assert fence.variant == "specified in RFC 4122"
    one, other = (fence.int & (1 << 62) - 1 for fence in fences)
    assert one != other


def test_the_upgrade_refuses_while_a_command_is_in_flight() -> None:
    (host,) = make_hosts(1)
    started_task([host])
    agent = FakeAgent(host)
    with connection.schema_editor() as editor:
        refuse_amid_work(None, editor)
    fence = only(agent.poll()).fence
    with (
        connection.schema_editor() as editor,
        pytest.raises(RuntimeError, match="1 commands are delivered"),
    ):
        refuse_amid_work(None, editor)
    agent.report(fence)
    with connection.schema_editor() as editor:
        refuse_amid_work(None, editor)
