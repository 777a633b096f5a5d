"""Where a task would run if it started now: hosts and steps, counted before anything happens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.translation import ngettext

from devops_manager.lib.errors import Conflict
from hosts_app.models import Host
from hosts_app.selectors import online_hosts, resolve_target
from hosts_app.targets import parse_target
from tasks_app.models import Command, Task
from tasks_app.selectors.tasks import task_as_draft
from tasks_app.states import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hosts_app.targets import Target

NAMED_AT_MOST = 8
_SALT = "tasks_app.plan"


@dataclass(frozen=True, slots=True)
class PlannedStep:
    """One step, and on how many hosts it would run; ``pinned_to``: the only one, by name."""

    position: int
    name: str
    body: str
    hosts: int
    pinned_to: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The hosts that a start would reach, and what each step is to them.

    ``names``: the first hosts by name. ``pinned_only``: hosts that only a pinned step names.
    ``waits``: as many tasks run now as may at once. ``digest`` stands for the hosts and the whole
    text of the task: the same plan, the same digest.
    """

    hosts: int
    offline: int
    names: Sequence[str]
    pinned_only: int
    steps: Sequence[PlannedStep]
    waits: bool
    digest: str

    @property
    def more(self) -> int:
        """Return how many hosts are not named."""
        return self.hosts - len(self.names)


@dataclass(frozen=True, slots=True)
class Reach:
    """The hosts (primary keys) that a task would run on. ``pinned_only``: not in the target."""

    target: Sequence[int]
    pinned_only: Sequence[int]

    @property
    def hosts(self) -> list[int]:
        """Return all of them, sorted."""
        return sorted({*self.target, *self.pinned_only})


def reach_of(
    *, target: Target, pins: Iterable[int | None], allowed_groups: Sequence[int] | None
) -> Reach:
    """Return where a task would run. ``pins``: for each step its host, or None for the target's.

    Raises what resolve_target does; a task whose steps are all pinned needs no target.
    """
    steps = list(pins)
    named = (
        [] if None not in steps else resolve_target(target=target, allowed_groups=allowed_groups)
    )
    return Reach(target=named, pinned_only=sorted({pin for pin in steps if pin} - {*named}))


def count_offline(keys: Sequence[int]) -> int:
    """Return how many of these hosts (primary keys) are not online now."""
    return len(keys) - online_hosts(Host.objects.filter(pk__in=list(keys))).count()


def plan_of(task: Task) -> Plan:
    """Return what starting a task now would do. Raises InvalidInput and Forbidden like the start.

    Ten statements at most, whatever the number of hosts.
    """
    reach = _reach(task)
    keys = reach.hosts
    steps = Command.objects.filter(task=task).order_by("position")
    rows: Any = steps.values_list("position", "name", "body", "host__hostname")
    running = Task.objects.filter(status=TaskStatus.RUNNING).count()
    first = Host.objects.filter(pk__in=keys).order_by("hostname", "id")[:NAMED_AT_MOST]
    return Plan(
        hosts=len(keys),
        offline=count_offline(keys),
        names=list(first.values_list("hostname", flat=True)),
        pinned_only=len(reach.pinned_only),
        steps=[
            PlannedStep(position, name, body, 1 if pinned else len(reach.target), pinned or "")
            for position, name, body, pinned in rows
        ],
        waits=running >= settings.DM_MAX_CONCURRENT_TASKS,
        digest=_digest(task, reach),
    )


def require_plan(task: Task, digest: str) -> None:
    """Refuse a start that a person agreed to when it meant something else.

    Other hosts or another text of the task are something else; hosts that went offline are not.
    Raises Conflict ``plan_changed``, and what the start would.
    """
    reach = _reach(task)
    if constant_time_compare(_digest(task, reach), digest):
        return
    count = len(reach.hosts)
    raise Conflict(
        ngettext(
            "Nothing was started: the task or its hosts are not what was shown. It is %(count)d "
            "host now; look at it and start again.",
            "Nothing was started: the task or its hosts are not what was shown. It is %(count)d "
            "hosts now; look at it and start again.",
            count,
        )
        % {"count": count},
        code="plan_changed",
    )


def _reach(task: Task) -> Reach:
    return reach_of(
        target=parse_target(task.target),
        pins=Command.objects.filter(task=task).values_list("host_id", flat=True),
        allowed_groups=task.allowed_groups,
    )


def _digest(task: Task, reach: Reach) -> str:
    """Return a keyed digest, from which nobody can guess the values of the environment."""
    text = json.dumps([task_as_draft(task), reach.hosts, list(reach.pinned_only)], sort_keys=True)
    return salted_hmac(_SALT, text, algorithm="sha256").hexdigest()
