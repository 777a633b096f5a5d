"""The swarm's records on the server: hosts with credentials, tasks, and the promises at the end."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from agents_app.models import AgentCredential
from agents_app.protocol import CREDENTIAL_PREFIX
from devops_manager.access.actors import SYSTEM
from devops_manager.lib.secrets import new_secret
from hosts_app.models import Host
from hosts_app.states import HostStatus
from tasks_app.models import Command, Task
from tasks_app.services import lifecycle
from tasks_app.states import TASK_TERMINAL
from tests.invariants import checks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

_BATCH = 1000
_CLOSED_SECONDS = 30.0


def make_hosts(count: int) -> tuple[list[UUID], list[str]]:
    """Create active hosts with a credential each; return their ids and the credentials."""
    hosts = Host.objects.bulk_create(
        [Host(hostname=f"swarm-{no}", status=HostStatus.ACTIVE) for no in range(count)],
        batch_size=_BATCH,
    )
    made = [new_secret(CREDENTIAL_PREFIX) for _ in hosts]
    AgentCredential.objects.bulk_create(
        [
            AgentCredential(host=host, prefix=one.prefix, secret_hash=one.hash, generation=1)
            for host, one in zip(hosts, made, strict=True)
        ],
        batch_size=_BATCH,
    )
    return [host.host_id for host in hosts], [one.plain for one in made]


def make_task(hosts: Sequence[UUID]) -> Task:
    """Create a task of one command on these hosts."""
    task = Task.objects.create(name="swarm", target={"hosts": [str(host) for host in hosts]})
    Command.objects.create(task=task, position=1, body="true")
    return task


def start(task: Task) -> None:
    """Start a task."""
    lifecycle.start_task(actor=SYSTEM, task_id=task.task_id)


def cancel(task: Task) -> None:
    """Cancel a task."""
    lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id)


def wait_closed(tasks: Sequence[Task]) -> None:
    """Wait until tasks have ended. Raises TimeoutError after half a minute."""
    end = time.monotonic() + _CLOSED_SECONDS
    ids = [task.pk for task in tasks]
    while Task.objects.filter(pk__in=ids).exclude(status__in=TASK_TERMINAL).exists():
        if time.monotonic() > end:
            raise TimeoutError("tasks stay open")
        time.sleep(0.01)


def violations() -> list[str]:
    """Return which promises do not hold."""
    return checks.violations(os.environ["DATABASE_URL"])
