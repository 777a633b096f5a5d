"""Group commit: what arrives while one batch is being committed becomes the next batch."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Sequence

T = TypeVar("T")

logger = logging.getLogger(__name__)


class GroupCommit(Generic[T]):
    """Collects items of one kind and runs them in batches, in order.

    ``run`` executes a batch and tells each item's owner what came of it; it deals with every error
    that it expects. ``keys`` names what may be under way only once: an item with a key that is in
    its batch, or in another that is not over, waits, and so do later items with the same key.
    ``size`` is what an item counts towards ``limit``; a single larger item goes alone.

    One batch is under way at a time. Where ``at_once`` is more, a full one does not wait for those
    before it: what it needs of the interpreter is done while they wait for PostgreSQL.
    """

    def __init__(
        self,
        run: Callable[[Sequence[T]], Awaitable[None]],
        *,
        limit: int,
        keys: Callable[[T], Sequence[Hashable]] = lambda _item: (),
        size: Callable[[T], int] = lambda _item: 1,
        at_once: int = 1,
    ) -> None:
        """Keep how batches are made and run."""
        self._run = run
        self._limit = limit
        self._keys = keys
        self._size = size
        self._at_once = at_once
        self._shared = at_once > 1  # only then can a key be under way when a batch is taken
        self._waiting: deque[T] = deque()
        self._waiting_size = 0
        self._under_way: set[Hashable] = set()
        self._runners: set[asyncio.Task[Any] | None] = set()

    def add(self, item: T) -> None:
        """Put an item into the next batch. Returns at once."""
        self._waiting.append(item)
        self._waiting_size += self._size(item)
        full = self._waiting_size >= self._limit
        if len(self._runners) < (self._at_once if full else 1):
            self._runners.add(asyncio.get_running_loop().create_task(self._drain()))

    @property
    def busy(self) -> bool:
        """Whether a batch is under way."""
        return bool(self._runners)

    async def finish(self) -> None:
        """Return when nothing waits and nothing is under way."""
        while self._runners:
            await asyncio.wait([runner for runner in self._runners if runner is not None])

    async def _drain(self) -> None:
        try:
            while batch := self._take():
                keys = {key for item in batch for key in self._keys(item)} if self._shared else ()
                self._under_way.update(keys)
                try:
                    await self._run(batch)
                except Exception:
                    # a defect in one batch must not end the service for the next
                    logger.exception("a batch of %d failed", len(batch))
                finally:
                    self._under_way.difference_update(keys)
        finally:
            # What waits now waits for a key that another has, which goes on after its batch.
            self._runners.discard(asyncio.current_task())

    def _take(self) -> list[T]:
        batch: list[T] = []
        later: list[T] = []
        used = set(self._under_way)
        total = 0
        while self._waiting:
            item = self._waiting[0]
            keys = self._keys(item)
            clash = not used.isdisjoint(keys)
            size = self._size(item)
            if not clash and batch and total + size > self._limit:
                break
            self._waiting.popleft()
            used.update(keys)
            if clash:
                later.append(item)
            else:
                batch.append(item)
                total += size
        self._waiting_size -= total
        self._waiting.extendleft(reversed(later))
        return batch
