"""The figures of /metrics: those of django-prometheus, and the system's own, cheap to ask for."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import Error
from django.db.models import Count, Sum
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from hosts_app.models import Host
from hosts_app.selectors import online_hosts
from hosts_app.states import HostStatus
from tasks_app.models import Command, Task
from tasks_app.states import TASK_TERMINAL, TASK_WITH_ROWS, RowStatus, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CONTENT_TYPE = CONTENT_TYPE_LATEST
# Several scrapers, or a hasty one, ask the database once in this time.
_KEPT_SECONDS = 5.0


def render() -> bytes:
    """Return all figures as text; without the database, this process's and dm_database_up 0."""
    if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        registry = REGISTRY
    return generate_latest(registry) + generate_latest(_own)


class SystemCollector(Collector):
    """Counts tasks, rows and hosts; keeps what it counted for five seconds."""

    def __init__(self) -> None:
        """Begin with nothing counted."""
        self._lock = threading.Lock()
        self._kept: list[GaugeMetricFamily] = []
        self._until = 0.0

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Return nothing, so that registering asks no database."""
        return []

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauges."""
        with self._lock:
            if time.monotonic() >= self._until:
                self._kept = _count()
                self._until = time.monotonic() + _KEPT_SECONDS
            kept = self._kept
        yield from kept

    def forget(self) -> None:
        """Count anew at the next request."""
        with self._lock:
            self._until = 0.0


def _count() -> list[GaugeMetricFamily]:
    up = GaugeMetricFamily("dm_database_up", "1 when the database answered")
    try:
        families = [*_tasks(), _rows(), *_hosts()]
    except Error:
        up.add_metric([], 0)
        return [up]
    up.add_metric([], 1)
    return [up, *families]


def _tasks() -> list[GaugeMetricFamily]:
    # Named one by one: what is only excluded, no index can find.
    states = [status for status in TaskStatus if status not in TASK_TERMINAL]
    open_tasks = Task.objects.filter(status__in=states).order_by()
    counts = dict(open_tasks.values_list("status").annotate(Count("id")))
    family = GaugeMetricFamily("dm_tasks", "Tasks that have not ended", labels=["status"])
    for status in states:
        family.add_metric([status.value], counts.get(status.value, 0))
    queue = GaugeMetricFamily("dm_queue_capacity", "Tasks that may wait at once")
    queue.add_metric([], settings.DM_QUEUE_CAPACITY)
    running = GaugeMetricFamily("dm_running_tasks_limit", "Tasks that may run at once")
    running.add_metric([], settings.DM_MAX_CONCURRENT_TASKS)
    return [family, queue, running]


def _rows() -> GaugeMetricFamily:
    """Sum the counts that commands of running tasks keep; the rows themselves are not read."""
    sums = Command.objects.filter(task__status__in=TASK_WITH_ROWS).aggregate(
        **{status.value: Sum(f"{status.value}_rows", default=0) for status in RowStatus}
    )
    family = GaugeMetricFamily(
        "dm_command_rows", "Commands on hosts, in tasks that run", labels=["status"]
    )
    for status, count in sums.items():
        family.add_metric([status], count)
    return family


def _hosts() -> list[GaugeMetricFamily]:
    counts = dict(Host.objects.order_by().values_list("status").annotate(Count("id")))
    family = GaugeMetricFamily("dm_hosts", "Hosts by status", labels=["status"])
    for status in HostStatus:
        family.add_metric([status.value], counts.get(status.value, 0))
    online = GaugeMetricFamily("dm_hosts_online", "Active hosts heard of late")
    online.add_metric([], online_hosts(Host.objects.filter(status=HostStatus.ACTIVE)).count())
    return [family, online]


_own = CollectorRegistry()
_system = SystemCollector()
_own.register(_system)
