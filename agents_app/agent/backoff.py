"""How long to wait after a failure: exponential with full jitter, or what the server asked for."""

from __future__ import annotations

import random

LONGEST_RETRY_AFTER_SECONDS = 600.0
# A server that is away is looked for so often at first, then at a thirtieth of how long it has
# been away: a short outage costs seconds, a long one does not cost the site's front its breath.
SOON_SECONDS = 1.25
SHARE_OF_OUTAGE = 30.0

_between = random.Random().uniform  # noqa: S311  it spreads load and keeps no secret


class Backoff:
    """Delays for one loop. Full jitter spreads the agents that lost the same server.

    The scheme is the one in "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
    """

    def __init__(self, *, first_seconds: float, longest_seconds: float) -> None:
        """Start at ``first_seconds`` and never wait longer than ``longest_seconds``."""
        self.longest_seconds = longest_seconds
        self._first_seconds = first_seconds
        self._failures = 0

    def reset(self) -> None:
        """Forget past failures: something worked."""
        self._failures = 0

    def next_seconds(self) -> float:
        """The delay after one more failure, between zero and the current ceiling."""
        ceiling = min(self.longest_seconds, self._first_seconds * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return _between(0.0, ceiling)

    def soon(self, away_seconds: float) -> float:
        """The delay where nobody answers, or something else than the gateway does."""
        ceiling = min(self.longest_seconds, max(SOON_SECONDS, away_seconds / SHARE_OF_OUTAGE))
        return _between(0.5, 1.0) * ceiling

    def longest(self) -> float:
        """A delay near the longest one, for what only a person can put right."""
        return self.longest_seconds * _between(0.75, 1.0)

    def asked_for(self, retry_after_seconds: float | None) -> float:
        """What the server asked for plus up to a quarter, or the next delay if it did not ask."""
        if retry_after_seconds is None:
            return self.next_seconds()
        seconds = min(max(retry_after_seconds, 0.0), LONGEST_RETRY_AFTER_SECONDS)
        return seconds + _between(0.0, max(seconds / 4, 0.1))
