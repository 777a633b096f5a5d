"""Points in time as people and programs write them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.utils import timezone
from django.utils.dateparse import parse_datetime

_DAY = timedelta(days=1)
# Every time zone is less than a day from UTC: within these, any of them can be shown in any other.
EARLIEST = datetime.min.replace(tzinfo=UTC) + _DAY
LATEST = datetime.max.replace(tzinfo=UTC) - _DAY


def parse_moment(text: str) -> datetime | None:
    """Return a moment in UTC from ISO 8601, or None for what is none or too far away to be told.

    Without an offset it is in the server's time zone. A plus sign that was not escaped in a query
    arrives as a blank, and is read as a plus.
    """
    try:
        found = parse_datetime(text.replace(" ", "+") if text.count(":") > 2 else text)
    except ValueError:
        return None
    if found is None:
        return None
    try:
        aware = timezone.make_aware(found) if timezone.is_naive(found) else found
        moment = aware.astimezone(UTC)
    except OverflowError:
        return None
    return moment if EARLIEST <= moment <= LATEST else None
