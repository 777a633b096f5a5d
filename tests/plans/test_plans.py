"""The plan test of the hot statements at 10^6 finished rows, with and without statistics.

A statement may read the indexes that its own comment names, no large table from the beginning, and
no more rows and pages than its work comes to. Counted, not timed, so it cannot be noisy. The number
of finished rows is ``DM_PLAN_ROWS`` (a multiple of 20,000).
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator

import pytest
from django.core.management import call_command
from django.db import connection
from pytest_django.plugin import DjangoDbBlocker

from tasks_app.models import Task
from tests.plans import day as days
from tests.plans.recorder import STATEMENTS, Plan, Recorder, named_indexes
from tests.plans.world import HOSTS, fill

# The mark has the database made; the tests themselves only look at what was recorded.
pytestmark = [pytest.mark.timeout(300), pytest.mark.django_db]

ROWS = int(os.environ.get("DM_PLAN_ROWS") or 1_000_000)
FRESH = "without statistics"
# Taken when nothing was open: to the planner, no row is pending, claimed or running.
QUIET = "with statistics of a quiet hour"
ANALYSED = "with statistics"
STATES = (FRESH, QUIET, ANALYSED)

# Read nothing, or tables that stay small.
NO_INDEX = {"pin_order", "pin_plans", "read_snapshot", "make_output_partition"}
NO_INDEX |= {"submit_commands", "submit_tasks", "sweep_tick"}

# A batch of the day is 100 hosts with a row or two each.
VISITED, PAGES = 2_000, 20_000
# Lists stop counting at 10,000.
VISITED_BY_LISTS = 10_250
# What is about all rows of one task, of all open rows or of all held hosts may look at each.
VISITED_MORE = {
    "cancel_in_flight": 3 * HOSTS,
    "cancel_waiting": 3 * HOSTS,
    "expire_find": 3 * HOSTS,
    "hosts_with_work": 3 * HOSTS,
    # The rows of the open tasks, and those of the 200 newest.
    "counts_differ": 4 * HOSTS,
    "outcomes_differ": 4 * HOSTS,
    "read_task_hosts": 2 * HOSTS,
    "read_changed_rows": 2 * HOSTS,
    "read_output_groups": 2 * HOSTS,
}
PAGES_MORE = {name: 10 * rows for name, rows in VISITED_MORE.items()}

Plans = dict[str, list[Plan]]


def hot_statements() -> list[str]:
    return sorted(path.stem for path in STATEMENTS.glob("*.sql") if path.stem not in NO_INDEX)


def in_database(*statements: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
        return cursor.fetchall() if cursor.description else []


def set_autovacuum(setting: str) -> None:
    tables = in_database(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    in_database(*(f'ALTER TABLE "{name}" {setting}' for (name,) in tables))


def empty() -> None:
    """Leave the tables as a new database has them: without rows, and without statistics."""
    call_command("flush", interactive=False, verbosity=0)
    in_database(
        "TRUNCATE command_outputs",
        "DELETE FROM pg_statistic WHERE starelid IN "
        "(SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace)",
    )


@pytest.fixture(scope="module")
def finished(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Task]:
    """A million rows that have ended, once for all tests; one of their tasks."""
    with django_db_blocker.unblock():
        empty()
        set_autovacuum("SET (autovacuum_enabled = off)")
        fill(ROWS)
        yield Task.objects.earliest("id")
        empty()
        days_of_output = in_database(
            "SELECT inhrelid::regclass::text FROM pg_inherits "
            "WHERE inhparent = 'command_outputs'::regclass"
        )
        in_database(*(f"DROP TABLE {name}" for (name,) in days_of_output if "2" in str(name)))
        set_autovacuum("RESET (autovacuum_enabled)")


@pytest.fixture(scope="module", params=STATES)
def plans(finished: Task, request: pytest.FixtureRequest) -> Plans:
    """The plans of one day, by statement; those of Django's own queries under an empty name."""
    if request.param == QUIET:
        days.end_everything()
    if request.param != FRESH:
        in_database("ANALYZE")
    known = in_database(
        "SELECT count(*) FROM pg_stats WHERE schemaname = 'public' AND tablename = 'commands_hosts'"
    )[0][0]
    assert bool(known) == (request.param != FRESH)
    day = days.prepare(finished, number=STATES.index(request.param))
    with Recorder() as recorder:
        days.run(day)
    found: Plans = defaultdict(list)
    for plan in recorder.plans:
        found[plan.name].append(plan)
    return found


@pytest.fixture(scope="module")
def partial_indexes(finished: Task) -> set[str]:
    """Indexes of open rows only: one of them may be read whole."""
    return {
        str(name)
        for (name,) in in_database(
            "SELECT indexrelid::regclass::text FROM pg_index WHERE indpred IS NOT NULL"
        )
    }


@pytest.fixture(scope="module")
def alike(finished: Task) -> dict[str, set[str]]:
    """Index → indexes that begin with the same columns: the planner takes either."""
    rows = in_database(
        "SELECT a.indexrelid::regclass::text, b.indexrelid::regclass::text FROM pg_index AS a "
        "JOIN pg_index AS b ON a.indrelid = b.indrelid AND a.indpred IS NULL AND b.indpred IS NULL "
        "AND starts_with(b.indkey::text || ' ', a.indkey::text || ' ')"
    )
    found: dict[str, set[str]] = defaultdict(set)
    for one, other in rows:
        found[str(one)].add(str(other))
    return found


@pytest.mark.parametrize("name", hot_statements())
def test_a_hot_statement_reads_the_indexes_that_it_names(
    plans: Plans, name: str, partial_indexes: set[str], alike: dict[str, set[str]]
) -> None:
    assert plans[name], "the day does not run this statement"
    named = named_indexes(name)
    for plan in plans[name]:
        assert plan.sequential_scans() == [], str(plan)
        others = {
            index
            for index in plan.indexes()
            # a key leads to the one row that is meant
            if not index.endswith("_pkey") and not named & (alike[index] | {index})
        }
        assert others == set(), str(plan)
        assert plan.whole_indexes() <= partial_indexes, str(plan)
        assert plan.visited <= VISITED_MORE.get(name, VISITED), str(plan)
        assert plan.buffers <= PAGES_MORE.get(name, PAGES), str(plan)


def test_no_list_reads_the_rows_of_all_tasks(plans: Plans) -> None:
    assert len(plans[""]) > 50, "the day looks at lists"
    greedy = [plan for plan in plans[""] if plan.visited_of("commands_hosts") > VISITED_BY_LISTS]
    assert greedy == [], "\n".join(map(str, greedy))


# Without statistics a search by name and the figures over all tasks may read the tasks in whole.
@pytest.mark.parametrize("plans", [ANALYSED], indirect=True, scope="module")
def test_lists_visit_no_more_than_they_count(plans: Plans) -> None:
    greedy = [plan for plan in plans[""] if plan.visited > VISITED_BY_LISTS]
    assert greedy == [], "\n".join(map(str, greedy))


def test_a_claim_of_a_hundred_hosts_visits_no_finished_row(plans: Plans) -> None:
    claims = [plan for plan in plans["claim"] if plan.root["Actual Rows"] >= days.BATCH]
    assert claims, "a batch of the day claims a row for each of a hundred hosts"
    for plan in claims:
        rows = [
            node for node in plan.nodes() if node.get("Index Name") == "idx_command_hosts_claimable"
        ]
        assert rows, str(plan)
        for node in rows:
            seen = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node[
                "Actual Loops"
            ]
            assert seen <= 5 * days.BATCH, str(plan)
