"""Faults 9 and 11: workers that die in the middle of sweeps and fan-outs, or lose sessions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from django.db.models import Count
from django.test import override_settings

from devops_manager.access.actors import SYSTEM
from devops_manager.embedded.places import PROJECT
from devops_manager.lib.fault_points import EXIT_STATUS
from tasks_app.models import CommandHost, Task, TaskWindow
from tasks_app.services import lifecycle
from tests.faults.transitions import Transitions
from tests.faults.world import (
    REACHED,
    SECONDS,
    Celery,
    environment,
    manage,
    wait_for,
    waits_for_lock,
)
from tests.gateway_process import database_url
from tests.queue_world import FakeAgent, make_hosts, make_task, outcomes, start, states

WORKER = "devops-manager-worker"
ROUNDS = 4
WINDOW = 100
HOSTS = 350


@pytest.fixture
def other() -> Iterator[psycopg.Connection]:
    """A session that takes locks of its own."""
    with psycopg.connect(database_url()) as connection:
        yield connection


def overdue_task() -> Task:
    """Return a task of two steps on three hosts: two have it in hand, and all are out of time."""
    hosts = make_hosts(3)
    task = start(make_task(hosts, steps=2))
    for host in hosts[:2]:
        agent = FakeAgent(host)
        agent.poll()
        if host is hosts[0]:
            agent.poll()  # says that it has what it got
    return task


def run_out_of_time(task: Task) -> None:
    with psycopg.connect(database_url()) as connection:
        connection.execute(
            "UPDATE commands_hosts SET deadline = now() "
            "WHERE task_id = %s AND deadline IS NOT NULL",
            [task.pk],
        )


ENDED = ["lost", "skipped", "lost", "skipped", "dispatch_failed", "skipped"]


def test_workers_killed_in_the_middle_of_sweeps(
    tmp_path: Path, other: psycopg.Connection, transitions: Transitions
) -> None:
    """Each round kills the pool while it holds half a sweep, and once more after its commit."""
    point = "sweep_exit_after_expiry"
    with Celery(tmp_path / "celery", DM_FAULT=point) as celery:
        for round_no in range(1, ROUNDS + 1):
            task = overdue_task()
            # The counts are the last that a sweep locks: its rows are changed, nothing committed.
            other.execute("SELECT FROM commands WHERE task_id = %s FOR UPDATE", [task.pk])
            run_out_of_time(task)
            with psycopg.connect(database_url(), autocommit=True) as watching:
                wait_for(lambda: waits_for_lock(watching, WORKER), "a sweep to be half done")
            for process in celery.pool():  # whichever of them it is
                process.kill()
            other.rollback()
            wait_for(lambda t=task: "pending" not in states(t), "the sweep to be done again")
            assert states(task) == ENDED
            assert outcomes(task) == {"lost": 2, "failed": 1}
            wait_for(lambda n=round_no: celery.log().count(REACHED.format(point)) >= n, "its death")
        # The pool is whole again.
        wait_for(lambda: len(celery.pool()) == 2, "two processes")
    assert transitions.all() == {
        ("pending", "claimed"),
        ("claimed", "running"),
        ("claimed", "lost"),
        ("running", "lost"),
        ("pending", "dispatch_failed"),
        ("blocked", "skipped"),
    }


def test_every_sweep_in_twenty_processes_at_once_ends_as_in_one(transitions: Transitions) -> None:
    alone, together = overdue_task(), overdue_task()
    run_out_of_time(alone)
    assert manage("sweep").returncode == 0
    assert states(alone) == ENDED
    run_out_of_time(together)
    ran = subprocess.run(
        [sys.executable, "-m", "tests.faults.sweepers"],
        cwd=PROJECT,
        env=environment(DM_DB_POOL_MIN="0", DM_DB_POOL_MAX="2"),
        capture_output=True,
        text=True,
        timeout=2 * SECONDS,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert states(together) == states(alone)
    assert outcomes(together) == outcomes(alone)
    assert len(transitions.of(CommandHost.objects.filter(task=together).earliest("pk").pk)) == 3


def rows_of(task: Task) -> tuple[int, int]:
    """Return how many rows a task has, and how many of its windows are done."""
    done = TaskWindow.objects.filter(task=task, done=True).count()
    return CommandHost.objects.filter(task=task).count(), done


@override_settings(DM_BATCH_SIZE=WINDOW)
def test_fan_out_killed_half_way_is_repaired(tmp_path: Path) -> None:
    hosts = make_hosts(HOSTS)
    task = make_task(hosts, steps=2)
    with Celery(tmp_path / "celery", "worker", DM_FAULT="fan_out_exit_in_window:2") as celery:
        lifecycle.start_task(actor=SYSTEM, task_id=task.task_id)
        wait_for(lambda: REACHED.format("fan_out_exit_in_window") in celery.log(), "the death")
        # One window is whole; of the second there is nothing, though its rows had been made.
        assert rows_of(task) == (2 * WINDOW, 1)
    died = manage("sweep", DM_FAULT="fan_out_exit_after_window")
    assert (died.returncode, rows_of(task)) == (EXIT_STATUS, (4 * WINDOW, 2)), died.stderr

    assert manage("sweep").returncode == 0
    assert rows_of(task) == (2 * HOSTS, 4)
    per_host = CommandHost.objects.filter(task=task).values("host").annotate(n=Count("pk"))
    assert set(per_host.values_list("n", flat=True)) == {2}
    assert list(task.commands.order_by("position").values_list("pending_rows", "blocked_rows")) == [
        (HOSTS, 0),
        (0, HOSTS),
    ]
    lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id)
    assert outcomes(task) == {"canceled": HOSTS}


def sessions(watching: psycopg.Connection) -> set[int]:
    """Return the worker's sessions as PostgreSQL lists them."""
    found = watching.execute(
        "SELECT pid FROM pg_stat_activity WHERE application_name = %s", [WORKER]
    )
    return {pid for (pid,) in found}


def test_jobs_keep_their_session_until_it_is_lost(tmp_path: Path) -> None:
    hosts = make_hosts(2)

    def fan_out() -> None:
        task = make_task(hosts)
        lifecycle.start_task(actor=SYSTEM, task_id=task.task_id)
        wait_for(lambda: rows_of(task) == (2, 1), "the fan-out")
        lifecycle.cancel_task(actor=SYSTEM, task_id=task.task_id)

    with (
        psycopg.connect(database_url(), autocommit=True) as watching,
        Celery(tmp_path / "celery", "worker"),
    ):
        kept: set[int] = set()
        for _ in range(8):
            fan_out()
            assert kept <= sessions(watching)
            kept = sessions(watching)
        assert 1 <= len(kept) <= 2, "one for each process of the pool"
        watching.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s) AS pid", [list(kept)])
        wait_for(lambda: not sessions(watching) & kept, "the sessions to be over")
        for _ in range(4):  # no sweep is there to make good what a job did not do
            fan_out()
