"""The host is locked in a statement of its own, and what it has in hand is counted after it.

DESIGN.md section 4: counted and locked in one statement, the count is older than the lock. Here the
interleaving is forced: one look-up has claimed and stands before its commit while another begins.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from django.db import connection

from tasks_app.models import CommandHost
from tasks_app.records import PollVerdict
from tasks_app.services import dispatch
from tests.held_commits import held_commits
from tests.protocol.client import eventually
from tests.queue_world import FakeAgent, make_hosts, started_task

if TYPE_CHECKING:
    from tasks_app.records import Answer, Poll

pytestmark = pytest.mark.django_db(transaction=True)

LIMIT = 2


def look_up(poll: Poll) -> Answer:
    """Look one poll up on a connection of its own, as another gateway would."""
    try:
        return dispatch.look_up([poll])[poll.host]
    finally:
        connection.close()


def in_flight() -> int:
    return CommandHost.objects.filter(status__in=("claimed", "running")).count()


def test_a_look_up_waits_for_nobody_and_counts_nothing_that_another_is_changing() -> None:
    (host,) = make_hosts(1, max_concurrency=LIMIT)
    agent = FakeAgent(host)
    agent.poll()  # held at the one gateway from here on
    for _ in range(2 * LIMIT):
        started_task([host])
    again = agent.current_poll(first=False)
    newer = agent.next_poll()  # the agent gave that poll up and asks the other gateway
    with ThreadPoolExecutor(2) as threads, held_commits("commands_hosts") as held:
        first = threads.submit(look_up, again)
        eventually(lambda: held.blocked() == 1)
        second = threads.submit(look_up, newer)
        # It has ended, or it stands where nothing but the missing lock has let it come.
        eventually(lambda: second.done() or held.blocked() == 2)
        held.release()
        claimed, answer = first.result(), second.result()
    assert in_flight() == LIMIT
    assert len(claimed.commands) == LIMIT
    assert answer.verdict is PollVerdict.SKIPPED
