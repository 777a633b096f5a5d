"""Where a task would run if it started now: hosts and steps, counted before anything happens."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from devops_manager.lib.errors import Conflict, InvalidInput
from hosts_app.models import Host
from hosts_app.plans import Plan as Reach
from hosts_app.plans import plan_steps
from hosts_app.selectors import online_hosts, resolve_target, usable_hosts
from hosts_app.targets import parse_target
from tasks_app.models import Command, Task
from tasks_app.selectors.reach import groups_left, split_reachable
from tasks_app.selectors.tasks import task_as_draft
from tasks_app.states import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    ``left_out``: hosts of the target that its creator may not use any more.
    ``waits``: as many tasks run now as may at once. ``digest`` stands for the hosts and the whole
    text of the task: the same plan, the same digest.
    """

    hosts: int
    offline: int
    names: Sequence[str]
    pinned_only: int
    left_out: int
    steps: Sequence[PlannedStep]
    waits: bool
    digest: str

    @property
    def more(self) -> int:
        """Return how many hosts are not named."""
        return self.hosts - len(self.names)


def reach_of(task: Task) -> Reach:
    """Return the hosts that have a step of a task to run, and which steps.

    A host without a step would never have an outcome, and the task would never close. Raises
    InvalidInput where a pinned host is not one that may be given work by now, and what
    resolve_target does.
    """
    steps = Command.objects.filter(task=task).order_by("position")
    pins: list[int | None] = list(steps.values_list("host_id", flat=True))
    hosts = Host.objects.filter(pk__in=[pin for pin in pins if pin is not None])
    ids = dict(hosts.values_list("host_id", "hostname"))
    gone = ids.keys() - usable_hosts(ids, allowed_groups=task.allowed_groups).keys()
    if gone:
        sentence = _("A step is for one host only, which may not be given work now: %(host)s.")
        sentences = [sentence % {"host": f"{ids[host_id]} ({host_id})"} for host_id in sorted(gone)]
        raise InvalidInput(
            _("The task names hosts that cannot be found."),
            code="unknown_target",
            fields={"commands": sentences},
        )
    targets: list[int] = []
    if None in pins:
        target = parse_target(task.target)
        targets = resolve_target(target=target, allowed_groups=task.allowed_groups)
    return plan_steps(targets=targets, pins=pins)


def reach_now(task: Task) -> tuple[Reach, dict[str, Any] | None]:
    """Return where a task runs if it starts now, and what falls out because grants were revoked.

    The target is looked up with the stored groups, so that a host whose grant is gone falls out and
    is not taken for one that was never there. Raises what reach_of and ``selectors/reach`` do.
    """
    # First whether its creator may run anything: then no target matters.
    groups = groups_left(task)
    reach = reach_of(task)
    kept, fallen = split_reachable(reach.hosts, groups=groups)
    return reach.within(kept), fallen


def count_offline(keys: Sequence[int]) -> int:
    """Return how many of these hosts (primary keys) are not online now."""
    return len(keys) - online_hosts(Host.objects.filter(pk__in=list(keys))).count()


def plan_of(task: Task) -> Plan:
    """Return what starting a task now would do. Raises InvalidInput and Forbidden like the start.

    Ten statements at most, whatever the number of hosts.
    """
    reach, fallen = reach_now(task)
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
        left_out=fallen["count"] if fallen else 0,
        steps=[
            PlannedStep(position, name, body, count, pinned or "")
            for (position, name, body, pinned), count in zip(rows, reach.step_hosts, strict=True)
        ],
        waits=running >= settings.DM_MAX_CONCURRENT_TASKS,
        digest=_digest(task, reach),
    )


def require_plan(task: Task, digest: str) -> None:
    """Refuse a start that a person agreed to when it meant something else.

    Other hosts or another text of the task are something else; hosts that went offline are not.
    Raises Conflict ``plan_changed``, and what the start would.
    """
    reach, _fallen = reach_now(task)
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


def _digest(task: Task, reach: Reach) -> str:
    """Return a keyed digest, from which nobody can guess the values of the environment."""
    text = json.dumps([task_as_draft(task), reach.hosts, reach.pinned_only], sort_keys=True)
    return salted_hmac(_SALT, text, algorithm="sha256").hexdigest()
