"""Log lines: one line an error where a library would log a traceback each time."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from celery.app.trace import LOG_FAILURE, LOG_RECEIVED, LOG_SUCCESS

from devops_manager.lib.quiet_logs import QuietSweeps
from devops_manager.lib.requests import OneLineErrors


def test_an_error_is_told_in_one_line() -> None:
    try:
        try:
            raise OSError("Connection refused")
        except OSError as cause:
            raise RuntimeError("interrupted") from cause
    except RuntimeError as error:
        record = logging.LogRecord(
            "name", logging.ERROR, __file__, 1, "ignored %s", ("it",), (type(error), error, None)
        )
    assert OneLineErrors().filter(record)
    assert logging.Formatter().format(record) == "ignored it: Connection refused"


def test_what_has_no_error_stays_as_it_is() -> None:
    record = logging.LogRecord("name", logging.INFO, __file__, 1, "said %s", ("it",), None)
    assert OneLineErrors().filter(record)
    assert record.getMessage() == "said it"


def test_the_cache_logs_that_way() -> None:
    filters = logging.getLogger("django_redis.cache").filters
    assert any(isinstance(one, OneLineErrors) for one in filters)


SWEEP: dict[str, Any] = {"id": "1", "name": "tasks_app.sweep", "args": "('admission',)"}
FAN_OUT: dict[str, Any] = {"id": "2", "name": "tasks_app.fan_out_task", "args": "(1,)"}
DUE = "Scheduler: Sending due task %s (%s)"


@pytest.mark.parametrize(
    ("logger", "level", "text", "said", "kept"),
    [
        ("celery.worker.strategy", logging.INFO, LOG_RECEIVED, SWEEP, False),
        ("celery.worker.strategy", logging.INFO, LOG_RECEIVED, FAN_OUT, True),
        ("celery.app.trace", logging.INFO, LOG_SUCCESS, SWEEP | {"runtime": 0.01}, False),
        ("celery.app.trace", logging.INFO, LOG_SUCCESS, SWEEP | {"runtime": 1.5}, True),
        ("celery.app.trace", logging.INFO, LOG_SUCCESS, FAN_OUT | {"runtime": 0.01}, True),
        ("celery.app.trace", logging.ERROR, LOG_FAILURE, SWEEP | {"exc": "boom"}, True),
        ("celery.beat", logging.INFO, DUE, ("sweep-admission", "tasks_app.sweep"), False),
        ("celery.beat", logging.INFO, DUE, ("other", "tasks_app.other"), True),
        ("celery.beat", logging.INFO, "beat: Starting...", (), True),
    ],
)
def test_a_log_tells_what_happened_and_not_that_nothing_did(
    logger: str, level: int, text: str, said: Any, kept: bool
) -> None:
    filters = [one for one in logging.getLogger(logger).filters if isinstance(one, QuietSweeps)]
    assert filters
    arguments = said if isinstance(said, tuple) else (said,)
    record = logging.LogRecord(logger, level, __file__, 1, text, arguments, None)
    assert filters[0].filter(record) is kept
