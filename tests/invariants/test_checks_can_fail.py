"""Each check of the promises passes on true records and names what is wrong with false ones."""

from __future__ import annotations

import pytest
from django.db import connection

from devops_manager.access.actors import SYSTEM
from tasks_app.services import lifecycle
from tests.gateway_process import database_url
from tests.invariants.checks import CHECKS, violations
from tests.queue_world import FakeAgent, make_hosts, only, started_task

pytestmark = pytest.mark.django_db(transaction=True)

# What breaks each promise, as SQL on a world with closed, canceled and open tasks.
BREAKS = {
    "1 an attempt in flight": "DELETE FROM host_sessions",
    "2 what waits": "UPDATE commands_hosts SET started_at = now() WHERE status = 'pending'",
    "3 a reported row": "DELETE FROM command_outputs",
    "3 only a report": "UPDATE commands_hosts SET result_digest = NULL WHERE status = 'completed'",
    "4 a fence": """INSERT INTO command_host_attempts (command_host_id, attempt, fence, status,
        error_code, error_message) SELECT id, 7, fence, 'failed', '', '' FROM commands_hosts
        WHERE fence IS NOT NULL LIMIT 1""",
    "5 nothing stays": "UPDATE commands_hosts SET deadline = now() - interval '1 hour' "
    "WHERE status = 'running'",
    "5 a blocked row": "UPDATE commands_hosts SET status = 'completed', finished_at = now() "
    "WHERE status = 'pending'",
    "6 the counts of a step": "UPDATE commands SET lost_rows = lost_rows + 1",
    "6 the counts of a task": "UPDATE tasks SET lost_hosts = lost_hosts + 1",
    "6 the outcomes": "UPDATE tasks SET total_hosts = total_hosts + 1 WHERE status = 'completed'",
    "6 a closed task says": "UPDATE tasks SET status = 'failed' WHERE status = 'completed'",
    "6 a closed task has": "UPDATE task_windows SET done = false",
    "7 no host": "UPDATE hosts SET max_concurrency = 1",
    "7 no more tasks": "",
    "8 a row belongs": "UPDATE task_windows SET host_ids = '{}'",
    "8 a host that is only pinned": "UPDATE task_windows SET pinned_ids = host_ids",
    "8 a row's host": "UPDATE commands_hosts SET host_id = 999999 WHERE status = 'canceled'",
    "9 output": "UPDATE command_outputs SET stdout_head = repeat('x', 300000)::bytea",
    "10 every frozen": "UPDATE task_windows SET host_ids = host_ids || 999999",
}


@pytest.fixture
def world() -> None:
    """A completed task, a canceled one, and one with rows in every open state."""
    one, two = make_hosts(2, max_concurrency=2)
    agent = FakeAgent(one)
    started_task([one])
    agent.report(only(agent.poll()).fence)
    canceled = started_task([two])
    lifecycle.cancel_task(actor=SYSTEM, task_id=canceled.task_id)
    started_task([one, two], steps=2)
    started_task([one], steps=2)
    agent.poll()
    agent.poll()


def found() -> list[str]:
    """Check the test's own database, with room for the two tasks of the world."""
    return violations(database_url(), max_running_tasks=2)


@pytest.mark.usefixtures("world")
def test_true_records_pass() -> None:
    assert found() == []


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("name", CHECKS)
def test_a_broken_promise_is_found(name: str) -> None:
    (start,) = [start for start in BREAKS if name.startswith(start)]
    if BREAKS[start]:
        with connection.cursor() as cursor:
            cursor.execute(BREAKS[start])
    else:
        (host,) = make_hosts(1)
        started_task([host])
    assert any(line.startswith(name) for line in found()), found()
