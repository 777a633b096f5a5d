"""People, hosts and forms for tests of the pages."""

from __future__ import annotations

import re
from typing import Any

from django.test import Client

from devops_manager.access.models import Role, User
from hosts_app.models import Host
from tasks_app.models import Task
from tests.queue_world import FakeAgent, make_task, start
from tests.task_factories import make_user

BACKEND = "django.contrib.auth.backends.ModelBackend"


def visitor(role: Role = Role.ADMIN, *, name: str = "", staff: bool = False) -> Client:
    """Return a browser in which a person of this role is signed in."""
    user = make_user(role, name)
    if staff:
        User.objects.filter(pk=user.pk).update(is_staff=True)
        user.refresh_from_db()
    client = Client()
    client.force_login(user, backend=BACKEND)
    return client


def html(response: Any) -> str:
    """Return a page's text."""
    return str(response.content.decode())


def plan_in(text: str) -> str:
    """Return the digest that a start page's form sends."""
    found = re.search(r'name="plan" value="([0-9a-f]{64})"', text)
    assert found is not None
    return found[1]


def begin(client: Client, task: Task) -> Any:
    """Start a task from its page: look at what it means, and agree."""
    address = f"/tasks/{task.task_id}/start"
    return client.post(address, {"plan": plan_in(html(client.get(address)))}, follow=True)


def task_form(*hosts: Host, steps: int = 1, **fields: Any) -> dict[str, Any]:
    """Return what a browser sends for a well filled form of a task."""
    form: dict[str, Any] = {
        "name": "disk usage",
        "description": "",
        "priority": "2",
        "offline_policy": "wait",
        "delivery_seconds": "600",
        "hosts": [str(host.host_id) for host in hosts],
        "tags": "",
        "exclude_tags": "",
        "steps": str(steps),
        "act": "save",
    }
    for at in range(steps):
        form |= {
            f"s{at}-name": f"step {at + 1}",
            f"s{at}-kind": "command",
            f"s{at}-body": f"echo {at + 1}",
            f"s{at}-timeout_seconds": "60",
            f"s{at}-on_failure": "stop",
        }
    return form | fields


def running_task(hosts: list[Host], **fields: Any) -> tuple[Task, list[FakeAgent]]:
    """Start a task, and have every host take and start what it is given."""
    task = start(make_task(hosts, **fields))
    agents = [FakeAgent(host) for host in hosts]
    for agent in agents:
        agent.poll()
        agent.poll()
    return task, agents
