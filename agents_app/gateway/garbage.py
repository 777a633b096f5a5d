"""When Python's cyclic garbage collector runs: while nobody waits for the process.

A collection of the young goes through all that came since the last: with 10,000 held polls that is
half a million objects and up to 400 ms, and it is due in the middle of a burst, when most is made.
There is next to nothing to find, so it is put off until no batch is under way, and done again only
after a while. What the interpreter starts by itself is left for the case that this moment never
comes.
"""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# New objects that live: fewer are not worth a look, at so many the interpreter looks by itself.
_WORTH_A_LOOK = 50_000
_AT_MOST = 1_000_000
_SECONDS = 2.0
_REST_SECONDS = 600.0


def keep_what_is_loaded() -> None:
    """Leave alone all there is now, which stays for good; collect seldom from now on."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_AT_MOST, 50, 1000)


async def collect_when_idle(busy: Callable[[], bool]) -> None:
    """Collect the young when there are many and nothing is under way, then rest; for ever."""
    while True:
        await asyncio.sleep(_SECONDS)
        if gc.get_count()[0] > _WORTH_A_LOOK and not busy():
            gc.collect(0)
            await asyncio.sleep(_REST_SECONDS)
