"""Figures over all tasks: for the overview, and for whoever watches capacity."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from django.conf import settings
from django.db.models import Count, DurationField, ExpressionWrapper, Min, Q
from django.db.models.functions import Now

from hosts_app.models import Host
from hosts_app.selectors import heard_after
from hosts_app.states import HostStatus
from tasks_app.models import Task
from tasks_app.queue import reads
from tasks_app.selectors.shapes import GlobalStats, MetricsSummary
from tasks_app.states import TASK_TERMINAL, TaskStatus

if TYPE_CHECKING:
    from django.db.models import QuerySet

_OPEN = tuple(status for status in TaskStatus if status not in TASK_TERMINAL)
_RECENT = timedelta(hours=24)


def global_stats() -> GlobalStats:
    """Return open tasks and the last day's tasks by state, and the open rows. Three statements.

    Ended tasks of all time are not counted: that would read each of them.
    """
    recent = Task.objects.filter(created_at__gte=Now() - _RECENT)
    return GlobalStats(
        open_tasks=_by_status(Task.objects.filter(status__in=_OPEN), _OPEN),
        recent_tasks=_by_status(recent, tuple(TaskStatus)),
        open_rows=reads.open_rows(),
    )


def _by_status(tasks: QuerySet[Task], named: tuple[TaskStatus, ...]) -> dict[str, int]:
    counted = dict(tasks.order_by().values_list("status").annotate(tasks=Count("id")))
    return {status.value: counted.get(status.value, 0) for status in named}


def metrics_summary() -> MetricsSummary:
    """Return running and queued tasks against their limits, rows that wait and run, hosts by state.

    Four statements. ``oldest_queued_seconds``: how long the first in the queue has waited.
    """
    open_tasks = _by_status(Task.objects.filter(status__in=_OPEN), _OPEN)
    queued = Task.objects.filter(status=TaskStatus.QUEUED).aggregate(
        waited=ExpressionWrapper(Now() - Min("queued_at"), output_field=DurationField())
    )["waited"]
    rows = reads.open_rows()
    active = Q(status=HostStatus.ACTIVE)
    heard = Q(heartbeat__last_seen_at__gt=heard_after())
    hosts = Host.objects.aggregate(
        pending=Count("id", filter=Q(status=HostStatus.PENDING)),
        active=Count("id", filter=active),
        disabled=Count("id", filter=Q(status=HostStatus.DISABLED)),
        online=Count("id", filter=active & heard),
        quarantined=Count(
            "id", filter=Q(quarantined_at__isnull=False) & ~Q(status=HostStatus.RETIRED)
        ),
    )
    return MetricsSummary(
        running_tasks=open_tasks[TaskStatus.RUNNING],
        running_tasks_limit=settings.DM_MAX_CONCURRENT_TASKS,
        queued_tasks=open_tasks[TaskStatus.QUEUED],
        queue_capacity=settings.DM_QUEUE_CAPACITY,
        oldest_queued_seconds=None if queued is None else int(queued.total_seconds()),
        waiting_commands=rows["blocked"] + rows["pending"],
        commands_in_flight=rows["claimed"] + rows["running"],
        hosts_by_status={name: hosts[name] for name in ("pending", "active", "disabled")},
        hosts_online=hosts["online"],
        hosts_offline=hosts["active"] - hosts["online"],
        hosts_quarantined=hosts["quarantined"],
    )
