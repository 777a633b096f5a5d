"""The journal alone: what survives, what is given out, and what a failing disk changes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agents_app.agent import journal as journal_module
from agents_app.agent.journal import Journal, JournalError
from agents_app.agent.messages import Command, parse_command
from agents_app.agent.records import Outcome, build_record
from tests.agent.fake_gateway import command


def make(fence: str) -> Command:
    return Command(fence=fence, body="secret body")


def record(fence: str) -> str:
    return build_record(fence, Outcome("completed", exit_code=0))


@pytest.fixture
def reopen(tmp_path: Path) -> Iterator[Callable[[], Journal]]:
    """Open the same journal as often as wanted, as starts of the agent do."""
    opened: list[Journal] = []

    def open_again() -> Journal:
        for journal in opened:
            journal.close()
        opened.append(Journal(tmp_path / "journal.sqlite3"))
        return opened[-1]

    yield open_again
    opened[-1].close()


def refuse_writes(journal: Journal, refuse: bool) -> None:
    """SQLite itself refuses every write, as it does when the disk is full."""
    journal._db.execute(f"PRAGMA query_only = {int(refuse)}")


def test_a_run_is_counted_and_the_id_stays(reopen: Callable[[], Journal]) -> None:
    first = reopen()
    first.begin_run()
    second = reopen()
    second.begin_run()
    assert (first.run, second.run) == (1, 2)
    assert first.journal_id == second.journal_id
    second.replace_id()
    assert reopen().journal_id == second.journal_id != first.journal_id


def test_every_write_is_synced_before_it_counts(reopen: Callable[[], Journal]) -> None:
    """With WAL, FULL is what makes SQLite sync at each commit; NORMAL only syncs checkpoints."""
    journal = reopen()
    assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert not journal._db.in_transaction
    journal.accept([make("a")], "boot")
    assert not journal._db.in_transaction


def test_states_and_commands_survive(reopen: Callable[[], Journal]) -> None:
    journal = reopen()
    sent = parse_command(command("echo $1", parameters=["a"], environment={"A": "b"}))
    assert journal.accept([sent, sent, make("b"), make("c")], "boot") == [
        sent,
        make("b"),
        make("c"),
    ]
    journal.mark_started("b", "boot")
    journal.mark_started("c", "boot")
    journal.finish("c", record("c"))
    again = reopen()
    states = {sent.fence: "accepted", "b": "running", "c": "finished"}
    assert dict(again.holding()) == states
    ((fence, text, boot_id),) = again.left_over("accepted")
    assert parse_command(json.loads(text)) == sent
    assert (fence, boot_id) == (sent.fence, "boot")
    assert again.accept([sent, make("b")], "boot") == []
    assert again.unanswered(limit=9, limit_bytes=9**9) == [("c", record("c"), False)]


def test_a_finished_command_leaves_no_body_behind(
    reopen: Callable[[], Journal], tmp_path: Path
) -> None:
    journal = reopen()
    journal.accept([make("a")], "boot")
    journal.mark_started("a", "boot")
    journal.finish("a", record("a"))
    journal.finish("a", "another record")
    assert journal.unanswered(limit=9, limit_bytes=9**9)[0][1] == record("a")
    journal._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert b"secret body" not in (tmp_path / "journal.sqlite3").read_bytes()


def test_results_are_given_out_within_limits(reopen: Callable[[], Journal]) -> None:
    journal = reopen()
    journal.accept([make(fence) for fence in "abcd"], "boot")
    for fence in "abcd":
        journal.finish(fence, record(fence))
    size = len(record("a"))

    def fences(**limits: int) -> str:
        found = journal.unanswered(**{"limit": 9, "limit_bytes": 9**9, **limits})
        return "".join(fence for fence, _, _ in found)

    assert fences() == "abcd"
    assert fences(limit=2) == "ab"
    assert fences(limit_bytes=2 * size) == "ab"
    assert fences(limit_bytes=1) == "a"
    left = journal.unanswered(limit=9, limit_bytes=9**9, leave_out={"a", "c"})
    assert [fence for fence, _, _ in left] == ["b", "d"]


def test_an_answered_fence_is_not_run_again(
    reopen: Callable[[], Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = reopen()
    for fence in "ab":
        journal.accept([make(fence)], "boot")
        journal.finish(fence, record(fence))
        journal.forget(fence, record(fence))
    assert journal.holding() == []
    again = reopen()
    assert again.accept([make("a")], "boot") == []
    assert again.holding() == [("a", "finished")]
    assert again.unanswered(limit=9, limit_bytes=9**9) == [("a", record("a"), False)]
    monkeypatch.setattr(journal_module, "ANSWERED_ROWS", 1)
    monkeypatch.setattr(journal_module, "PRUNE_EVERY", 1)
    again.forget("a", record("a"))
    assert again.accept([make("b")], "boot") == [make("b")]


def test_an_invalid_result_stays_marked(reopen: Callable[[], Journal]) -> None:
    journal = reopen()
    journal.accept([make("a")], "boot")
    journal.finish("a", record("a"))
    journal.mark_reduced("a")
    assert reopen().unanswered(limit=9, limit_bytes=9**9) == [("a", record("a"), True)]


def test_what_cannot_be_written_is_not_accepted_and_no_result_is_lost(
    reopen: Callable[[], Journal],
) -> None:
    journal = reopen()
    journal.begin_run()
    journal.accept([make("a"), make("b")], "boot")
    journal.mark_started("a", "boot")
    refuse_writes(journal, True)
    with pytest.raises(JournalError):
        journal.accept([make("c")], "boot")
    with pytest.raises(JournalError):
        journal.mark_started("b", "boot")
    with pytest.raises(JournalError):
        journal.begin_run()
    journal.finish("a", record("a"))
    assert not journal.writable
    assert not journal.try_again()
    assert dict(journal.holding()) == {"a": "finished", "b": "accepted"}
    assert journal.unanswered(limit=9, limit_bytes=9**9) == [("a", record("a"), False)]

    refuse_writes(journal, False)
    assert journal.try_again()
    assert journal.writable
    again = reopen()
    assert again.unanswered(limit=9, limit_bytes=9**9) == [("a", record("a"), False)]
    again.begin_run()
    assert again.run == 2


def test_what_was_answered_while_nothing_could_be_written_is_crossed_out_later(
    reopen: Callable[[], Journal],
) -> None:
    journal = reopen()
    journal.begin_run()
    journal.accept([make("a")], "boot")
    journal.mark_started("a", "boot")
    refuse_writes(journal, True)
    journal.finish("a", record("a"))
    journal.forget("a", record("a"))
    assert journal.holding() == []
    refuse_writes(journal, False)
    assert journal.try_again()
    # Else the next start would call it interrupted, which the server knows to be completed.
    again = reopen()
    assert again.holding() == []
    assert again.accept([make("a")], "boot") == []
    assert again.holding() == [("a", "finished")]
