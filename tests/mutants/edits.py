"""The safeguards that are taken out, one at a time, and the tests that must then fail."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


class StaleEditError(Exception):
    """A text to be replaced is not there exactly once: the mutant is no longer what it says."""


@dataclass(frozen=True)
class Edit:
    """Replace ``old``, which the file has exactly once, by ``new``."""

    path: str
    old: str
    new: str

    def apply(self, directory: Path) -> None:
        """Change the file below ``directory``. Raises StaleEditError."""
        file = directory / self.path
        text = file.read_text(encoding="utf-8") if file.is_file() else ""
        found = text.count(self.old)
        if found != 1:
            raise StaleEditError(f"{self.path} has this {found} times, not once:\n{self.old}")
        file.write_text(text.replace(self.old, self.new), encoding="utf-8")


@dataclass(frozen=True)
class Mutant:
    """One safeguard taken out, and the test that must notice."""

    name: str
    edits: tuple[Edit, ...]
    test: str


REPORT = "tasks_app/sql/report_apply.sql"
REPORT_TESTS = "tests/protocol/test_report.py::"
FULL_SYNC = Edit("agents_app/agent/journal.py", '"synchronous=FULL"', '"synchronous=OFF"')
NO_LOCK = Edit(
    "tasks_app/sql/poll_lock.sql", "ORDER BY id\nFOR NO KEY UPDATE SKIP LOCKED", "ORDER BY id"
)
LOCK_TEST = (
    "tests/concurrency/test_host_lock.py::"
    "test_a_look_up_waits_for_nobody_and_counts_nothing_that_another_is_changing"
)

MUTANTS = (
    Mutant(
        "a result needs no fence, its host is enough",
        (
            Edit(REPORT, "AND given.fence = row.fence", ""),
            Edit(REPORT, "        AND row.fence = old.fence\n", ""),
        ),
        REPORT_TESTS
        + "test_a_result_under_a_fence_that_the_row_no_longer_has_leaves_the_row_alone",
    ),
    Mutant(
        "a result is written whatever the row's state",
        (
            Edit(
                REPORT,
                "AND old.old_status = ANY(%(sources)s::text [])",
                "AND (true OR old.old_status = ANY(%(sources)s::text []))",
            ),
        ),
        REPORT_TESTS + "test_another_result_for_the_fence_is_a_conflict_and_the_first_is_kept",
    ),
    Mutant(
        "a host may report another host's fence",
        (Edit(REPORT, "AND old.row_host_id = old.host_id", "AND true"),),
        REPORT_TESTS + "test_another_hosts_fence_is_unknown_audited_and_changes_nothing",
    ),
    Mutant(
        "the journal is told of a start a second later",
        (
            Edit(
                "agents_app/agent/executor.py",
                "self._journal.mark_started(fence, self._boot_id)",
                "threading.Timer(1, self._journal.mark_started, (fence, self._boot_id)).start()",
            ),
        ),
        "tests/agent/test_agent_restart.py::"
        "test_a_command_that_kills_its_agent_as_its_first_act_runs_once",
    ),
    Mutant(
        "the journal does not ask for its writes to be synced",
        (FULL_SYNC,),
        "tests/agent/test_agent_journal.py::test_every_write_is_synced_before_it_counts",
    ),
    Mutant(
        "the same, seen by a power cut",
        (FULL_SYNC,),
        "tests/agent/test_agent_disk.py::test_after_a_power_cut_nothing_runs_twice",
    ),
    Mutant(
        "a look-up does not lock the host",
        (NO_LOCK,),
        LOCK_TEST,
    ),
    Mutant(
        "a look-up locks the host in the statement that counts",
        (
            NO_LOCK,
            Edit(
                "tasks_app/sql/poll_in_flight.sql",
                "    host_id = ANY(%(hosts)s::bigint [])",
                "    EXISTS (SELECT FROM (SELECT id FROM hosts WHERE id = ANY(%(hosts)s::bigint [])"
                " FOR NO KEY UPDATE) AS locked)\n    AND host_id = ANY(%(hosts)s::bigint [])",
            ),
        ),
        LOCK_TEST,
    ),
    Mutant(
        "a poll is registered only after its first look-up",
        (
            Edit(
                "agents_app/gateway/polls.py",
                "    def _hint(self, state: HostState) -> None:\n",
                "    def _hint(self, state: HostState) -> None:\n"
                "        if state.current is not None and state.current.first:\n"
                "            return\n",
            ),
        ),
        "tests/protocol/test_wakes.py::test_a_wake_during_the_first_look_up_is_not_missed",
    ),
    Mutant(
        "a poll is answered twice, the second time on whatever its connection asks by then",
        (
            Edit(
                "agents_app/gateway/waiters.py",
                "        if self.done:\n            return\n        self.leave()\n",
                "        self.leave()\n",
            ),
        ),
        "tests/integration/test_gateway_defects.py::test_a_poll_is_answered_once",
    ),
    Mutant(
        "a job goes on in the transaction that another was torn out of",
        (
            Edit(
                "devops_manager/celery.py",
                "if torn or not idle or not connection.is_usable():",
                "if not connection.is_usable():",
            ),
        ),
        "tests/integration/test_job_sessions.py::"
        "test_a_job_that_was_torn_out_of_a_transaction_that_began_costs_the_next_one_nothing",
    ),
)
