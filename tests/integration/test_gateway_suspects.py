"""What gateways that ended had under way is counted, each death once, whatever fails between."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agents_app.gateway.database import DatabaseAway, DatabaseThreads
from agents_app.gateway.suspects import POLL, Suspects
from agents_app.gateway.under_way import UnderWay
from agents_app.models import SuspectRequest
from agents_app.services.suspects import Mark
from tests.factories import make_host

pytestmark = pytest.mark.django_db(transaction=True)


class FailsOnce(DatabaseThreads):
    """A database that goes away at one of its calls, and is back for the next."""

    def __init__(self, at: int) -> None:
        super().__init__("test", 1)
        self._left = at

    async def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._left -= 1
        if self._left == 0:
            raise DatabaseAway("a test wants it so")
        return await super().run(function, *args, **kwargs)


def die_with(*marks: Mark) -> None:
    """Leave the file of a worker that was killed with these under way."""
    under_way = UnderWay()
    for mark in marks:
        under_way.begin(mark)
    assert under_way._map is not None
    under_way._map.close()
    os.close(under_way._file)  # the kernel takes the lock back, as at a death


def test_a_death_is_counted_once_though_the_next_cannot_be_written(
    settings: Any, tmp_path: Path
) -> None:
    settings.DM_GATEWAY_STATE_DIR = tmp_path
    first, second = Mark(POLL, make_host("web-1").pk), Mark(POLL, make_host("web-2").pk)
    die_with(first)
    die_with(second)

    async def scene() -> None:
        suspects = Suspects(FailsOnce(at=2))
        with pytest.raises(DatabaseAway):
            await suspects.load()
        await suspects.load()
        assert suspects.deaths(first) == suspects.deaths(second) == 1
        suspects.close()

    asyncio.run(scene())
    assert sorted(SuspectRequest.objects.values_list("deaths", flat=True)) == [1, 1]
    assert list(tmp_path.rglob("*.under-way")) == []
