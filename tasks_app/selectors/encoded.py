"""The cached answers of the API, as encoded JSON: a hit is sent as it came from Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from django.conf import settings
from django.utils.translation import get_language

from tasks_app import cache
from tasks_app.selectors.rows import host_tasks
from tasks_app.selectors.stats import global_stats
from tasks_app.selectors.tasks import task_list, task_state
from tasks_app.states import ROW_OPEN, RowStatus, TaskStatus

if TYPE_CHECKING:
    from uuid import UUID

    from devops_manager.lib.pagination import Page as PageAsked
    from tasks_app.selectors.tasks import TaskFilter

_MOVING = frozenset({TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.PAUSED})
# A late result may still change the last two.
_UNSETTLED = frozenset({*ROW_OPEN, RowStatus.LOST, RowStatus.INTERRUPTED})


def task_list_json(*, asked: PageAsked, narrowed: TaskFilter) -> bytes:
    """Return ``task_list`` as JSON; cached when only state and name narrow it."""

    def build() -> tuple[bytes, bool]:
        page = task_list(asked=asked, narrowed=narrowed)
        return msgspec.json.encode(page), any(task.status in _MOVING for task in page.results)

    if not narrowed.cacheable:
        return build()[0]
    key = cache.list_key(
        page=asked.number, size=asked.size, status=narrowed.status, name=narrowed.name
    )
    return cache.get_or_build(
        key, generation=cache.TASK_GENERATION, seconds=cache.LIST_SECONDS, build=build
    )


def task_state_json(*, task_id: UUID) -> bytes:
    """Return ``task_state`` as JSON, cached. Raises NotFound."""

    def build() -> tuple[bytes, bool]:
        state = task_state(task_id=task_id)
        return msgspec.json.encode(state), state.status in _MOVING

    return cache.get_or_build(
        cache.status_key(task_id),
        generation=cache.TASK_GENERATION,
        seconds=cache.STATUS_SECONDS,
        build=build,
    )


def host_tasks_json(*, host_id: UUID, asked: PageAsked) -> bytes:
    """Return ``host_tasks`` as JSON, cached in the server's language. Raises NotFound."""

    def build() -> tuple[bytes, bool]:
        page = host_tasks(host_id=host_id, asked=asked)
        return msgspec.json.encode(page), any(row.status in _UNSETTLED for row in page.results)

    if get_language() != settings.LANGUAGE_CODE:
        return build()[0]  # reasons are in words, and the cache has one language
    return cache.get_or_build(
        cache.host_tasks_key(host_id, page=asked.number, size=asked.size),
        generation=cache.HOST_GENERATION,
        seconds=cache.HOST_TASKS_SECONDS,
        build=build,
    )


def global_stats_json() -> bytes:
    """Return ``global_stats`` as JSON, cached."""

    def build() -> tuple[bytes, bool]:
        stats = global_stats()
        return msgspec.json.encode(stats), any(stats.open_tasks[status] for status in _MOVING)

    return cache.get_or_build(
        cache.STATS_KEY,
        generation=cache.TASK_GENERATION,
        seconds=cache.STATS_SECONDS,
        build=build,
    )
