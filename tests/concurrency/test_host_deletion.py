"""A host is deleted while a task begins: no row without its host, no host missing from a task."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError

from devops_manager.access.actors import SYSTEM
from hosts_app.models import Host
from tasks_app.models import CommandHost, Task
from tasks_app.services import fan_out, lifecycle
from tests.gateway_process import database_url
from tests.held_commits import held_commits
from tests.protocol.client import eventually
from tests.queue_world import make_hosts, make_task, started_task
from tests.together import together

pytestmark = pytest.mark.django_db(transaction=True)

DELETION_WAITS = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND objid = %s"
ADMISSION = 0x646D_0001


def start(task: Task) -> None:
    lifecycle.start_task(actor=SYSTEM, task_id=task.task_id)


def delete(host: int) -> None:
    """Delete a host as SQL does, so that only PostgreSQL is there to object."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM host_heartbeats WHERE host_id = %s", [host])
        cursor.execute("DELETE FROM hosts WHERE id = %s", [host])


def waits_for_admission() -> bool:
    with psycopg.connect(database_url()) as watching:
        return watching.execute(DELETION_WAITS, [ADMISSION]).rowcount == 1


def test_a_host_with_commands_stays_and_another_goes() -> None:
    used, frozen, free = make_hosts(3)
    started_task([used])
    start(make_task([frozen]))
    for host in (used, frozen):
        with pytest.raises(IntegrityError, match="has commands"):
            delete(host.pk)
    with pytest.raises(ProtectedError):
        used.delete()
    delete(free.pk)
    assert set(Host.objects.values_list("pk", flat=True)) == {used.pk, frozen.pk}


def test_a_deletion_that_could_not_see_what_it_waited_for_is_refused() -> None:
    (free,) = make_hosts(1)
    with psycopg.connect(database_url()) as other:
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="READ COMMITTED"):
            other.execute("DELETE FROM hosts WHERE id = %s", [free.pk])


def test_a_host_stays_whose_task_is_just_beginning() -> None:
    (host,) = make_hosts(1)
    task = make_task([host])
    with ThreadPoolExecutor(2) as threads, held_commits("task_windows") as held:
        started = threads.submit(together, [lambda: start(task)])
        eventually(lambda: held.blocked() == 1)
        deleted = threads.submit(together, [lambda: delete(host.pk)])
        eventually(waits_for_admission)
        held.release()
        started.result()
        with pytest.raises(IntegrityError, match="has commands"):
            deleted.result()
    assert fan_out.fan_out_task(task.pk) == 1


def test_a_task_that_begins_amid_a_deletion_goes_without_the_host() -> None:
    gone, left = make_hosts(2)
    task = make_task([gone, left])
    Task.objects.filter(pk=task.pk).update(target={"all": True})
    asked, done = threading.Event(), threading.Event()

    def slow() -> None:
        with transaction.atomic():
            delete(gone.pk)
            asked.set()
            assert done.wait(20)

    with ThreadPoolExecutor(2) as threads:
        deleted = threads.submit(together, [slow])
        assert asked.wait(20)
        started = threads.submit(together, [lambda: start(task)])
        eventually(waits_for_admission)
        done.set()
        deleted.result()
        started.result()
    assert fan_out.fan_out_task(task.pk) == 1
    assert CommandHost.objects.get(task=task).host_id == left.pk
