"""What a job of Celery's finds in the session that the one before it left."""

from __future__ import annotations

import psycopg
import pytest
from django.db import connection, transaction

from devops_manager.celery import begin_afresh
from hosts_app.models import Host
from tests.gateway_process import database_url
from tests.queue_world import make_hosts

pytestmark = pytest.mark.django_db(transaction=True)


def committed() -> int:
    with psycopg.connect(database_url()) as other:
        (count,) = other.execute("SELECT count(*) FROM hosts").fetchone() or (0,)
        return int(count)


def job() -> None:
    begin_afresh()
    with transaction.atomic():
        make_hosts(1)


def begin_a_transaction() -> None:
    connection.set_autocommit(False)
    Host.objects.count()


def test_a_job_that_was_torn_out_of_a_transaction_that_began_costs_the_next_one_nothing() -> None:
    begin_a_transaction()
    job()
    assert committed() == 1
    job()
    assert committed() == 2


def test_a_job_that_was_torn_out_of_a_transaction_that_ended_costs_the_next_one_nothing() -> None:
    begin_a_transaction()
    connection.in_atomic_block = True
    job()
    assert committed() == 1
    job()
    assert committed() == 2


def test_a_session_that_failed_and_was_left_is_given_up() -> None:
    connection.set_autocommit(False)
    session = connection.connection
    assert session is not None
    with pytest.raises(psycopg.Error):
        session.execute("SELECT 1 / 0")
    job()
    assert committed() == 1


def test_a_good_session_is_kept() -> None:
    job()
    session = connection.connection
    job()
    assert connection.connection is session
