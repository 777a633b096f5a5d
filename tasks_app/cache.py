"""The caches of tasks: their keys, their lifetimes, and what empties them (docs/architecture.md).

Beside the keys of a family stands its generation; an entry counts only under the generation that
was there before its rows were read. So whoever read before a change and stores after it stores
nothing that anybody will be given.
"""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import transaction

from devops_manager.lib import cache

if TYPE_CHECKING:
    from collections.abc import Callable
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
# Just below the time-out of one question (CACHES in the settings).
_SLOW_SECONDS = 0.9
_REST_SECONDS = 5.0


@dataclass(slots=True)
class _Patience:
    """Until when this process asks Redis nothing, in monotonic time."""

    exhausted_until: float = 0.0


_patience = _Patience()


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
    if time.monotonic() < _patience.exhausted_until:
        return build()[0]
    asked = time.monotonic()
    found = cache.get_many(generation, key)
    if time.monotonic() - asked > _SLOW_SECONDS:
        # Frozen rather than away: do not let each reader wait for the time-outs in turn.
        _patience.exhausted_until = time.monotonic() + _REST_SECONDS
        return build()[0]
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


def tasks_changed() -> None:
    """After the commit, let the next read of lists, of states and of the stats see the change.

    For what is created, edited, started, admitted, ended, canceled, deleted; not for each report.
    Does nothing when the transaction is rolled back. The tasks' states share the generation of the
    lists: a key of its own could be deleted, but not guarded against a reader that was overtaken.
    """
    transaction.on_commit(
        lambda: cache.set_many(
            {TASK_GENERATION: _new_generation(), HOST_GENERATION: _new_generation()}
        )
    )


def rows_made() -> None:
    """After the commit, let the next read of what a host was given see the rows just made."""
    transaction.on_commit(lambda: cache.set_many({HOST_GENERATION: _new_generation()}))


def _new_generation() -> bytes:
    # Never a number: django-redis would read that back as an integer.
    return f"g{secrets.token_hex(8)}".encode()
