"""What the gateway calls: look-ups for polls, results of reports, and what follows from both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks_app import queue
from tasks_app.records import ReportOutcome
from tasks_app.services.settlement import follow_up

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from tasks_app.records import Answer, Poll, Result


def look_up(polls: Sequence[Poll]) -> dict[int, Answer]:
    """Serve the open polls of many hosts (at most one a host) in one transaction.

    Returns host primary key → answer; everything in it is committed. Under concurrency: a host that
    another look-up holds is SKIPPED, and no host ever has more than its limit in flight. Raises
    ``django.db.OperationalError`` when PostgreSQL is away; then nothing happened.
    """
    answers, settled = queue.look_up(polls)
    follow_up(settled)
    return answers


def report(results: Sequence[Result]) -> ReportOutcome:
    """Write a batch of results; return a verdict for each, in their order, and hosts with new work.

    ``accepted`` means committed. A result whose data cannot be stored is ``invalid`` and holds up
    no other. Raises ``django.db.OperationalError`` when PostgreSQL is away; the agents send again.
    """
    verdicts, parts = queue.report(results)
    for settled in parts:
        follow_up(settled)
    woken = {host for settled in parts for host in settled.wake_hosts}
    return ReportOutcome(tuple(verdicts), tuple(woken))


def hosts_with_work(hosts: Sequence[int]) -> list[int]:
    """Return those of the held hosts (primary keys) that have something to be told."""
    return queue.hosts_with_work(hosts)


def fence_owners(fences: Sequence[UUID]) -> dict[UUID, tuple[int, str]]:
    """Return fence → (host primary key, row state), for live output; unknown ones left out."""
    return queue.fence_owners(fences)
