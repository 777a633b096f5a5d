"""Group commit: what arrives while one batch is being committed becomes the next batch."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Sequence

T = TypeVar("T")

logger = logging.getLogger(__name__)


class GroupCommit(Generic[T]):
    """Collects items of one kind and runs them in batches, one batch at a time, in order.

    ``run`` executes a batch and tells each item's owner what came of it; it deals with every error
    that it expects. ``keys`` names what may be in a batch only once: an item with a key that the
    batch has already waits for the next one, and so do later items with the same key. ``size`` is
    what an item counts towards ``limit``; a single larger item goes alone.
    """

    def __init__(
        self,
        run: Callable[[Sequence[T]], Awaitable[None]],
        *,
        limit: int,
        keys: Callable[[T], Sequence[Hashable]] = lambda _item: (),
        size: Callable[[T], int] = lambda _item: 1,
    ) -> None:
        """Keep how batches are made and run."""
        self._run = run
        self._limit = limit
        self._keys = keys
        self._size = size
        self._waiting: deque[T] = deque()
        self._runner: asyncio.Task[None] | None = None

    def add(self, item: T) -> None:
        """Put an item into the next batch. Returns at once."""
        self._waiting.append(item)
        if self._runner is None:
            self._runner = asyncio.get_running_loop().create_task(self._drain())

    @property
    def busy(self) -> bool:
        """Whether a batch is under way."""
        return self._runner is not None

    async def _drain(self) -> None:
        try:
            while self._waiting:
                batch = self._take()
                try:
                    await self._run(batch)
                except Exception:
                    # a defect in one batch must not end the service for the next
                    logger.exception("a batch of %d failed", len(batch))
        finally:
            self._runner = None

    def _take(self) -> list[T]:
        batch: list[T] = []
        later: list[T] = []
        used: set[Hashable] = set()
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
        self._waiting.extendleft(reversed(later))
        return batch
