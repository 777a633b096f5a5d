"""Keeps what a healthy, idle system repeats every few seconds out of the logs."""

from __future__ import annotations

import logging
from collections.abc import Mapping

SWEEP = "tasks_app.sweep"
# A sweep over millions of rows takes a fraction of this.
SLOW_SECONDS = 1.0


class QuietSweeps(logging.Filter):
    """Drops Celery's lines of sweeps that were sent, received, and ended well and soon.

    Failures, lost workers, slow sweeps and all other jobs stay; a sweep that found work to do says
    so itself.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is worth keeping."""
        if record.levelno > logging.INFO:
            return True
        said = record.args
        if isinstance(said, Mapping):  # "received" and "succeeded" give one mapping
            if said.get("name") != SWEEP:
                return True
            runtime = said.get("runtime")
            return isinstance(runtime, float) and runtime >= SLOW_SECONDS
        return not (isinstance(said, tuple) and SWEEP in said)  # beat's "sending due task"
