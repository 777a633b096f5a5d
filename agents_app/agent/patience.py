"""How long a poll may be held before something on the way gives up: learned, not configured.

A proxy that ends requests after 20 s answers 504, or closes the connection, in the middle of a
hold of 25 s. No work is lost by it, for the next poll goes out at once; but it repeats for ever
and tells nobody. So the agent asks for shorter holds, says so once, and tries the long one again
later.
"""

from __future__ import annotations

import logging

log = logging.getLogger(__name__)

# Whatever ends a poll sooner is no matter of patience.
SHORTEST_SECONDS = 1.0
# An answer at the very end of the hold is on its way so long.
LATE_SECONDS = 2.0
FIRST_PROBE_SECONDS = 600.0
LONGEST_PROBE_SECONDS = 6 * 3600.0


class Patience:
    """What one poll loop has learned of the way to its gateway. ``now`` is monotonic time."""

    def __init__(self, wanted_seconds: float) -> None:
        """Begin with the hold that is wanted."""
        self._wanted = wanted_seconds
        self._limit = wanted_seconds
        self._cut_at: float | None = None
        self._suspected: float | None = None
        self._probe_at = 0.0
        self._probe_every = FIRST_PROBE_SECONDS

    def hold_seconds(self, now: float) -> float:
        """How long the next poll may be held; now and then the wanted time, as a probe."""
        if self._cut_at is not None and now >= self._probe_at:
            return self._wanted
        return self._limit

    def answered(self, waited_seconds: float) -> None:
        """A poll was answered after that time: whatever is on the way waited so long."""
        if self._suspected is not None and waited_seconds >= self._suspected:
            self._suspected = None
        if self._cut_at is not None and waited_seconds > self._cut_at + SHORTEST_SECONDS:
            log.info("polls may be held for %g s again", self._wanted)
            self._limit, self._cut_at = self._wanted, None
            self._probe_every = FIRST_PROBE_SECONDS

    def cut(
        self, asked_seconds: float, waited_seconds: float, now: float, *, certain: bool, how: str
    ) -> bool:
        """A poll ended in the middle of its hold: whether to send the next at once.

        ``certain``: the status says that a proxy gave up. A connection that was closed may be a
        gateway's end as well, so that counts when it happens twice after the same time. False for
        what is no matter of patience.
        """
        if not SHORTEST_SECONDS <= waited_seconds <= asked_seconds + LATE_SECONDS:
            return False
        if self._cut_at is not None and asked_seconds > self._limit:
            self._probe_every = min(self._probe_every * 2, LONGEST_PROBE_SECONDS)
            self._probe_at = now + self._probe_every
            return True
        if self._cut_at is not None and waited_seconds > (self._limit + self._cut_at) / 2:
            return False  # the hold that is known to be good was over: the gateway stands still
        if not certain and not _about(waited_seconds, self._suspected):
            self._suspected = waited_seconds
            return True
        self._suspected, self._cut_at = None, waited_seconds
        self._limit = max(waited_seconds - max(1.0, waited_seconds / 10), SHORTEST_SECONDS / 2)
        self._probe_at = now + self._probe_every
        log.warning(
            "a proxy between this host and the server gives up after %.1f s (%s); polls are held"
            " for %.1f s from now on. It should wait longer than %g s, or set poll_wait_seconds",
            waited_seconds,
            how,
            self._limit,
            self._wanted,
        )
        return True


def _about(seconds: float, other: float | None) -> bool:
    return other is not None and abs(seconds - other) <= max(SHORTEST_SECONDS, other / 10)
