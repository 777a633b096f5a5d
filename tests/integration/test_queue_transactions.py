"""How the hot path's transactions begin and end: with a statement, in its round trip."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from psycopg.errors import SerializationFailure

from devops_manager.access.actors import SYSTEM
from hosts_app.models import Host
from tasks_app.queue.statements import call, in_hot_transaction, in_transaction, run, run_last
from tasks_app.services import lifecycle
from tests.queue_world import make_hosts, make_task

pytestmark = pytest.mark.django_db(transaction=True)


def setting(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting(%s)", [name])
        return str(cursor.fetchone()[0])


def in_a_transaction() -> bool:
    """Tell whether PostgreSQL has one open, whatever Django thinks."""
    return bool(connection.connection.info.transaction_status)


def locking(host: Host) -> Any:
    return call("hosts_lock", hosts=[host.pk])


@pytest.mark.parametrize("begin", [in_transaction, in_hot_transaction])
def test_plans_are_pinned_before_the_first_statement_and_until_the_end(begin: Any) -> None:
    (host,) = make_hosts(1)

    @begin
    def act() -> str:
        run("hosts_lock", hosts=[host.pk])
        return setting("plan_cache_mode")

    with CaptureQueriesContext(connection) as queries:
        assert act() == "force_generic_plan"
    began, pinned, locked = (query["sql"] for query in queries.captured_queries[:3])
    assert (began, "plan_cache_mode" in pinned, "FROM hosts" in locked) == ("BEGIN", True, True)
    assert setting("plan_cache_mode") == "auto"


def test_the_last_statement_takes_the_end_with_it_and_nothing_may_follow() -> None:
    (host,) = make_hosts(1)

    @in_hot_transaction
    def act(*, more: bool) -> None:
        run("poll_quarantine", hosts=[host.pk], reason="first")
        assert in_a_transaction()
        run_last(locking(host))
        assert not in_a_transaction()
        if more:
            run("poll_quarantine", hosts=[host.pk], reason="more")

    act(more=False)
    with pytest.raises(RuntimeError, match="after the last"):
        act(more=True)
    host.refresh_from_db()
    assert host.quarantine_reason == "first"
    act(more=False)


def test_a_start_takes_as_many_statements_for_many_hosts_as_for_one() -> None:
    counts = []
    for number in (1, 40):
        task = make_task(
            [
                Host.objects.create(hostname=f"h-{number}-{no}", status="active")
                for no in range(number)
            ]
        )
        with CaptureQueriesContext(connection) as queries:
            lifecycle.start_task(actor=SYSTEM, task_id=task.task_id)
        counts.append(len(queries))
    assert counts == [15, 15]  # all but three of them while nobody else may start one


def test_in_a_transaction_of_the_callers_the_last_statement_ends_nothing() -> None:
    (host,) = make_hosts(1)

    @in_hot_transaction
    def inner() -> None:
        run_last(call("poll_quarantine", hosts=[host.pk], reason="inner"))

    @in_transaction
    def outer() -> None:
        inner()
        assert in_a_transaction()
        run_last(locking(host))
        assert not in_a_transaction()

    outer()
    with transaction.atomic():
        inner()
        run("hosts_lock", hosts=[host.pk])
        assert in_a_transaction()
    host.refresh_from_db()
    assert host.quarantine_reason == "inner"


def test_a_last_statement_that_fails_ends_nothing_and_is_tried_again() -> None:
    (host,) = make_hosts(1)
    tries = 0

    @in_hot_transaction
    def act() -> None:
        nonlocal tries
        tries += 1
        run("poll_quarantine", hosts=[host.pk], reason=f"try {tries}")
        if tries == 1:
            raise OperationalError from SerializationFailure()
        run_last(locking(host))

    act()
    host.refresh_from_db()
    assert (tries, host.quarantine_reason) == (2, "try 2")
