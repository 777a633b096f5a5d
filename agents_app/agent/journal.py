"""The journal: one SQLite file that says what was accepted, started and finished.

Every write is on disk (WAL, ``synchronous=FULL``) before the function returns. States are mirrored
in memory, so that polls read no disk and a full disk stops new work but loses no result.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sqlite3
import threading
import time
import uuid
from collections.abc import Collection, Iterator
from pathlib import Path

from agents_app.agent.messages import Command
from agents_app.agent.records import truncate_record
from agents_app.protocol import HELD_ACCEPTED, HELD_FINISHED, HELD_RUNNING

log = logging.getLogger(__name__)

JOURNAL_FILE = "journal.sqlite3"
# Fences whose result was answered are remembered so long and so many, so that a server restored
# from a backup that delivers one again gets its result and not a second run.
ANSWERED_SECONDS = 7 * 86400
ANSWERED_ROWS = 2000
PRUNE_EVERY = 100
# With less than this on its disk the agent takes no work: it is kept for results without output.
ROOM_BYTES = 1024 * 1024

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS attempts (
    fence TEXT PRIMARY KEY, state TEXT NOT NULL, command TEXT NOT NULL, boot_id TEXT NOT NULL,
    record TEXT, reduced INTEGER NOT NULL DEFAULT 0, changed_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS answered (
    fence TEXT PRIMARY KEY, record TEXT NOT NULL, answered_at REAL NOT NULL);
"""


class JournalError(Exception):
    """The journal cannot be written now (a full disk, most likely). Nothing was changed."""


class Journal:
    """The journal of one agent. Safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        """Open the file, or set a damaged one aside and begin a new journal."""
        self._lock = threading.RLock()
        self._path = path
        self._db = _open(path)
        self._file = _file(path)
        self.writable = True
        self.run = 0
        self._unsaved: dict[str, str] = {}
        self._answered: dict[str, str] = {}
        self._states: dict[str, str] = dict(
            self._db.execute("SELECT fence, state FROM attempts ORDER BY changed_at")
        )
        self._forgotten = 0
        row = self._db.execute("SELECT value FROM meta WHERE key = 'journal_id'").fetchone()
        self.journal_id: str = row[0] if row else ""

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is on disk at the end, or JournalError and no change."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                with contextlib.suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
                if self.writable:
                    log.error("the journal cannot be written: %s", error)
                self.writable = False
                raise JournalError(str(error)) from error

    @property
    def takes_work(self) -> bool:
        """Whether commands may be accepted: they can be written, and their results will fit."""
        if not self.writable or not self.in_place:
            return False
        return _free_bytes(self._path.parent) >= ROOM_BYTES

    @property
    def in_place(self) -> bool:
        """Whether the file is where it was opened: not deleted, not replaced by another.

        SQLite writes on into a file without a name, and all of it is gone with the process.
        """
        return self._file is not None and _file(self._path) == self._file

    def begin_run(self) -> None:
        """Count this start of the agent; make the journal's id at the first. JournalError."""
        with self._writing() as db:
            row = db.execute("SELECT value FROM meta WHERE key = 'run'").fetchone()
            run = int(row[0]) + 1 if row else 1
            journal_id = self.journal_id or str(uuid.uuid4())
            db.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)",
                [("run", str(run)), ("journal_id", journal_id)],
            )
        self.run, self.journal_id = run, journal_id

    def replace_id(self) -> None:
        """Give the journal a new id and keep all that is in it. Raises JournalError."""
        journal_id = str(uuid.uuid4())
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES ('journal_id', ?)", (journal_id,))
        self.journal_id = journal_id

    def set_meta(self, key: str, value: str) -> None:
        """Write a note for ``devops-agent status`` and ``drain``. Raises JournalError."""
        with self._writing() as db:
            db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def accept(self, commands: Collection[Command], boot_id: str) -> list[Command]:
        """Write deliveries; those that are new to the journal come back, to be run.

        One that was answered before is finished again with the result that it had, without output.
        Raises JournalError, and then none was accepted.
        """
        if commands and not self.in_place:
            raise JournalError("the journal was deleted or replaced")
        with self._lock:
            unknown = {c.fence: c for c in commands if c.fence not in self._states}
            if not unknown:
                return []
            known_results = [fence for fence in unknown if self._was_answered(fence)]
            new = [c for fence, c in unknown.items() if fence not in known_results]
            now = time.time()
            with self._writing() as db:
                db.executemany(
                    "INSERT INTO attempts (fence, state, command, boot_id, changed_at)"
                    " VALUES (?, ?, ?, ?, ?)",
                    [(c.fence, HELD_ACCEPTED, c.to_json(), boot_id, now) for c in new],
                )
                for fence in known_results:
                    db.execute(
                        "INSERT INTO attempts (fence, state, command, boot_id, record, changed_at)"
                        " SELECT fence, ?, '', ?, record, ? FROM answered WHERE fence = ?",
                        (HELD_FINISHED, boot_id, now, fence),
                    )
            self._states.update((c.fence, HELD_ACCEPTED) for c in new)
            self._states.update((fence, HELD_FINISHED) for fence in known_results)
            return new

    def _was_answered(self, fence: str) -> bool:
        row = self._db.execute("SELECT 1 FROM answered WHERE fence = ?", (fence,)).fetchone()
        return row is not None

    def mark_started(self, fence: str, boot_id: str) -> None:
        """Write that the command is about to run: from here on a crash means interrupted."""
        with self._writing() as db:
            db.execute(
                "UPDATE attempts SET state = ?, boot_id = ?, changed_at = ? WHERE fence = ?",
                (HELD_RUNNING, boot_id, time.time(), fence),
            )
        self._states[fence] = HELD_RUNNING

    def finish(self, fence: str, record: str) -> None:
        """Keep the final record; the command is erased.

        On a full disk it is kept without its output, and if even that does not fit, in memory.
        """
        with self._lock:
            if self._states.get(fence) == HELD_FINISHED:
                return
            self._states[fence] = HELD_FINISHED
            self._unsaved[fence] = record
            try:
                self._save()
            except JournalError:
                self._save_shorter(fence, record)

    def _save_shorter(self, fence: str, record: str) -> None:
        """Where the whole record does not fit, one without output may; then that is the result."""
        try:
            with self._writing() as db:
                _write_record(db, fence, truncate_record(record))
        except JournalError:
            return
        log.warning("the output of %s is dropped: the disk is full", fence)
        del self._unsaved[fence]

    def _save(self) -> None:
        """Write the results that are only in memory."""
        with self._writing() as db:
            for fence, record in self._unsaved.items():
                _write_record(db, fence, record)
        self._unsaved.clear()

    def try_again(self) -> bool:
        """After a failure, see whether writing works now. True if it does."""
        with contextlib.suppress(JournalError), self._lock:
            self._save()
            self._cross_out()
            self.set_meta("probe", "x" * 4096)
            if not self.writable:
                log.info("the journal can be written again")
            self.writable = True
        return self.writable

    def holding(self) -> list[tuple[str, str]]:
        """Each fence whose result was not answered yet, with its state, oldest first."""
        with self._lock:
            return list(self._states.items())

    def state(self, fence: str) -> str | None:
        """The state of one fence, or None if the journal does not hold it."""
        return self._states.get(fence)

    def unanswered(
        self, *, limit: int, limit_bytes: int, leave_out: Collection[str] = ()
    ) -> list[tuple[str, str, bool]]:
        """Results to send, oldest first: (fence, record, whether the full one was invalid).

        Stops at ``limit`` results or before ``limit_bytes``, but gives at least one if any.
        """
        found: list[tuple[str, str, bool]] = []
        size = 0
        with self._lock:
            for fence, state in self._states.items():
                if state != HELD_FINISHED or fence in leave_out:
                    continue
                record, reduced = self._record(fence)
                size += len(record.encode())
                if found and size > limit_bytes:
                    break
                found.append((fence, record, reduced))
                if len(found) == limit:
                    break
        return found

    def _record(self, fence: str) -> tuple[str, bool]:
        if fence in self._unsaved:
            return self._unsaved[fence], False
        row = self._db.execute("SELECT record, reduced FROM attempts WHERE fence = ?", (fence,))
        record, reduced = row.fetchone()
        return record, bool(reduced)

    def mark_reduced(self, fence: str) -> None:
        """Remember that the server called the full record invalid. Raises JournalError."""
        with self._writing() as db:
            db.execute("UPDATE attempts SET reduced = 1 WHERE fence = ?", (fence,))

    def forget(self, fence: str, reduced_record: str) -> None:
        """The result was answered: take the fence out, keep ``reduced_record`` for a while.

        On a full disk it leaves the memory only, and the file when there is room again.
        """
        with self._lock:
            self._states.pop(fence, None)
            self._unsaved.pop(fence, None)
            self._answered[fence] = reduced_record
            with contextlib.suppress(JournalError):
                self._cross_out()

    def _cross_out(self) -> None:
        """Take out of the file what was answered."""
        now = time.time()
        with self._writing() as db:
            for fence, record in self._answered.items():
                db.execute("DELETE FROM attempts WHERE fence = ?", (fence,))
                db.execute("INSERT OR REPLACE INTO answered VALUES (?, ?, ?)", (fence, record, now))
            if self._forgotten % PRUNE_EVERY == 0:
                _prune(db, now)
            self._forgotten += 1
        self._answered.clear()

    def left_over(self, state: str) -> list[tuple[str, str, str]]:
        """After a start: (fence, command as JSON, boot id) of what was left in ``state``."""
        with self._lock:
            return list(
                self._db.execute(
                    "SELECT fence, command, boot_id FROM attempts WHERE state = ?"
                    " ORDER BY changed_at",
                    (state,),
                )
            )


def _write_record(db: sqlite3.Connection, fence: str, record: str) -> None:
    db.execute(
        "INSERT INTO attempts (fence, state, command, boot_id, record, changed_at)"
        " VALUES (?, ?, '', '', ?, ?) ON CONFLICT (fence) DO UPDATE SET"
        " state = excluded.state, command = '', record = excluded.record,"
        " changed_at = excluded.changed_at",
        (fence, HELD_FINISHED, record, time.time()),
    )


def _prune(db: sqlite3.Connection, now: float) -> None:
    db.execute("DELETE FROM answered WHERE answered_at < ?", (now - ANSWERED_SECONDS,))
    db.execute(
        "DELETE FROM answered WHERE fence IN"
        " (SELECT fence FROM answered ORDER BY answered_at DESC LIMIT -1 OFFSET ?)",
        (ANSWERED_ROWS,),
    )


def _free_bytes(directory: Path) -> float:
    """What this process may still write there."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return math.inf
    if not found.f_blocks:  # a file system that does not tell
        return math.inf
    blocks = found.f_bfree if os.geteuid() == 0 else found.f_bavail
    return blocks * found.f_frsize


def _file(path: Path) -> tuple[int, int] | None:
    """What tells the file from another of that name."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _open(path: Path) -> sqlite3.Connection:
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and "malformed" not in str(error):
            raise
        aside = path.with_name(f"{path.name}.damaged-{int(time.time())}")
        log.error("the journal is damaged (%s); it is kept as %s", error, aside)
        for suffix in ("", "-wal", "-shm"):
            source = Path(str(path) + suffix)
            if source.exists():
                source.replace(str(aside) + suffix)
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)
    db = sqlite3.connect(str(path), isolation_level=None, check_same_thread=False, timeout=1.0)
    try:
        # Records and bodies are erased, not only unlinked, when their rows go.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
            db.execute("PRAGMA " + pragma)
        found = db.execute("PRAGMA quick_check(1)").fetchone()
        if found[0] != "ok":
            raise sqlite3.DatabaseError(found[0])
        db.executescript(_SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db
