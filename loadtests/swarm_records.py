"""The swarm's records on the server: hosts with credentials, tasks, and the promises at the end."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from django.db.models import Max, Min

from agents_app.models import AgentCredential
from agents_app.protocol import CREDENTIAL_PREFIX
from devops_manager.access.actors import SYSTEM
from devops_manager.lib.secrets import new_secret
from hosts_app.models import Host
from hosts_app.states import HostStatus
from tasks_app.models import Command, CommandHost, Task
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


def primary_keys(hosts: Sequence[UUID]) -> list[int]:
    """Return the hosts' primary keys, in their own order."""
    found = Host.objects.filter(host_id__in=hosts).order_by("id")
    return list(found.values_list("id", flat=True))


def make_task(hosts: Sequence[UUID] | None) -> Task:
    """Create a task of one command on these hosts, or on all."""
    target = {"all": True} if hosts is None else {"hosts": [str(host) for host in hosts]}
    task = Task.objects.create(name="swarm", target=target)
    Command.objects.create(task=task, position=1, body="true")
    return task


def start(task: Task) -> None:
    """Start a task where there is no web process to ask."""
    lifecycle.start_task(actor=SYSTEM, task_id=task.task_id)


def cancel(task: Task) -> None:
    """Cancel a task."""
    lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id)


def fan_out_seconds(tasks: Sequence[Task]) -> float:
    """Return the time from the first task's start to the last of their rows, in database time."""
    started = Task.objects.filter(pk__in=[task.pk for task in tasks]).aggregate(
        at=Min("started_at")
    )
    made = CommandHost.objects.filter(command__task__in=tasks).aggregate(at=Max("created_at"))
    return float((made["at"] - started["at"]).total_seconds())


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
