"""Log lines: one line an error where a library would log a traceback each time."""

from __future__ import annotations

import logging

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
