"""Publishes Celery jobs after the commit; the database row is the outbox, the message a hint.

When the broker is away the job runs here, in the background thread: jobs are idempotent functions
that re-read their state, so a message that arrives after all does no harm.
"""

from __future__ import annotations

import logging
import time

from celery import current_app
from django.db import transaction
from kombu.exceptions import OperationalError

from devops_manager.lib.background import Background

logger = logging.getLogger(__name__)

_BROKER_REST_SECONDS = 5.0
_background = Background("enqueue")
_broker_away_until = 0.0


def after_commit(job: str, *arguments: int | str) -> None:
    """After the commit, publish the job of this name; returns at once and never raises."""
    transaction.on_commit(lambda: _submit(job, arguments))


def _submit(job: str, arguments: tuple[int | str, ...]) -> None:
    _background.submit(lambda: _publish(job, arguments))


def _publish(job: str, arguments: tuple[int | str, ...]) -> None:
    global _broker_away_until  # noqa: PLW0603 - one circuit breaker a process, used by one thread
    task = current_app.tasks[job]
    if time.monotonic() >= _broker_away_until:
        try:
            task.apply_async(arguments, retry=False)
        except (OperationalError, OSError) as error:
            _broker_away_until = time.monotonic() + _BROKER_REST_SECONDS
            logger.warning("the broker is away, %s runs here: %s", job, error)
        else:
            return
    task.run(*arguments)
