"""The caches of tasks: their keys, their lifetimes, and what empties them (docs/architecture.md).

Beside the keys of a family stands its generation; an entry counts only under the generation that
was there before its rows were read. So whoever read before a change and stores after it stores
nothing that anybody will be given.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from django.db import transaction

from devops_manager.lib import cache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

TASK_GENERATION = "task:list:generation"
HOST_GENERATION = "host:tasks:generation"

STATUS_SECONDS = 30
LIST_SECONDS = 60
HOST_TASKS_SECONDS = 60
STATS_SECONDS = 300
# While something runs, reports move counts and empty no cache; nobody is told anything older.
MOVING_SECONDS = 1

_GENERATION_BYTES = 17


def status_key(task_id: UUID) -> str:
    """Return the key of one task's status."""
    return f"task:status:{task_id}"


def list_key(*, page: int, size: int, status: str, name: str) -> str:
    """Return the key of one page of the list of tasks; ``name`` last, for it may hold anything."""
    return f"task:list:{page}:{size}:{status}:{name}"


def host_tasks_key(host_id: UUID, *, page: int, size: int) -> str:
    """Return the key of one page of what a host did."""
    return f"host:tasks:{host_id}:{page}:{size}"


STATS_KEY = "task:stats:global"


def get_or_build(
    key: str, *, generation: str, seconds: int, build: Callable[[], tuple[bytes, bool]]
) -> bytes:
    """Return the cached bytes of ``key``, or build and keep them.

    ``generation`` is the family's key; ``build`` returns the bytes and whether what they tell of is
    moving, which keeps them for a second only. Without Redis it builds every time.
    """
    found = cache.get_many(generation, key)
    current = found.get(generation)
    entry = found.get(key)
    if current is not None and entry is not None and entry.startswith(current):
        return entry[_GENERATION_BYTES:]
    if current is None:
        # Never there, evicted, or no Redis. A random one: no entry of earlier times can match it.
        current = _new_generation()
        cache.set_many({generation: current})
    body, moving = build()
    cache.set_bytes(key, current + body, seconds=MOVING_SECONDS if moving else seconds)
    return body


def task_changed(task_ids: Iterable[UUID]) -> None:
    """After the commit, let the next read of lists, of their status and of the stats see it.

    For what is created, edited, started, fanned out, ended, canceled and deleted; not for each
    report. Does nothing when the transaction is rolled back.
    """
    keys = [status_key(task_id) for task_id in task_ids]
    transaction.on_commit(lambda: _forget(keys))


def rows_made() -> None:
    """After the commit, let the next read of what a host was given see the rows just made."""
    transaction.on_commit(lambda: cache.set_many({HOST_GENERATION: _new_generation()}))


def _forget(keys: list[str]) -> None:
    cache.set_many({TASK_GENERATION: _new_generation(), HOST_GENERATION: _new_generation()})
    cache.drop(*keys)


def _new_generation() -> bytes:
    # Never a number: django-redis would read that back as an integer.
    return f"g{secrets.token_hex(8)}".encode()
