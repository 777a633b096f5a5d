"""Looks at the state directory twice a second: drain, a new credential, and whether it is there."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from agents_app.agent.journal import Journal

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
# A directory that was moved away for a moment, or whose mount comes back, is used again.
LEAVE_SECONDS = 10.0


class StateWatch:
    """Runs in a thread of its own.

    Without its journal the agent takes no work. It sees out what runs, delivers what it has, and
    then ends, for it could not account for anything after a crash.
    """

    def __init__(
        self, *, journal: Journal, refresh: Callable[[], None], leave: Callable[[], None]
    ) -> None:
        """``refresh`` is called at each look; ``leave`` once, when the agent is to end."""
        self._journal = journal
        self._refresh = refresh
        self._leave = leave
        self._gone_at: float | None = None

    def run(self, stop: threading.Event) -> None:
        """Look until stopped."""
        while not stop.wait(LOOK_SECONDS):
            self._look()
            self._look_at_credential_and_drain()

    def _look_at_credential_and_drain(self) -> None:
        try:
            self._refresh()
        except Exception:
            # A defect in here must not blind the agent: the next look may well succeed.
            log.exception("the state directory could not be looked at")

    def _look(self) -> None:
        now = time.monotonic()
        if self._journal.in_place:
            if self._gone_at is not None:
                log.info("the state directory is back: taking work again")
            self._gone_at = None
        elif self._gone_at is None:
            self._gone_at = now
            log.error(
                "THE STATE DIRECTORY WAS DELETED OR REPLACED: no new work is taken; the agent"
                " delivers what it has and ends"
            )
        elif now - self._gone_at >= LEAVE_SECONDS and not self._journal.holding():
            self._leave()
