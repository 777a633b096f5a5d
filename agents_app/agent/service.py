"""The running agent: its parts put together, its signals, its orderly end."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from agents_app.agent import AGENT_VERSION, facts
from agents_app.agent.cgroup import CommandGroups, own_cgroup
from agents_app.agent.children import ChildRegistry
from agents_app.agent.config import ConfigError, Settings
from agents_app.agent.enroll import enroll_until_done, read_token
from agents_app.agent.executor import Executor, Limits
from agents_app.agent.identity import Identity, StateLock, prepare_state_dir, read_identity
from agents_app.agent.journal import JOURNAL_FILE, Journal
from agents_app.agent.live import LiveFeed
from agents_app.agent.poller import PollLoop
from agents_app.agent.reporter import FLUSH_SECONDS, ReportLoop
from agents_app.agent.session import CredentialSource
from agents_app.agent.spawn import Spawner
from agents_app.agent.tree import become_subreaper
from agents_app.agent.watch import StateWatch

log = logging.getLogger(__name__)

WORK_DIRECTORY = "work"
EXIT_AT_ONCE = 1


class NotNowError(Exception):
    """The agent cannot start now, but may a little later: its disk is full, most likely."""


class Service:
    """One agent on one state directory. ``run`` returns when it was asked to stop."""

    def __init__(self, settings: Settings) -> None:
        """Takes the state directory and opens the journal. Raises ConfigError, NotNowError."""
        os.umask(0o077)
        prepare_state_dir(settings.state_path)
        self._settings = settings
        self._lock = StateLock(settings.state_path)
        self._journal = _open_journal(settings.state_path / JOURNAL_FILE)
        self._stop = threading.Event()
        self._lost = False

    def stop(self) -> None:
        """Ask ``run`` to end."""
        self._stop.set()

    def run(self) -> None:
        """Enroll if need be, then poll, run and report until ``stop``.

        Raises ConfigError, and NotNowError when the state directory was taken from under it.
        """
        identity = self._identity()
        if identity is None:
            return
        server = self._settings.server
        log.info("agent %s for host %s on %s", AGENT_VERSION, identity.host_id, server)
        self._serve(CredentialSource(self._settings.state_path, identity))
        self._journal.close()
        self._lock.release()
        if self._lost:
            raise NotNowError(
                f"state_dir {self._settings.state_dir} was deleted or replaced while the agent ran"
            )
        log.info("stopped")

    def _leave(self) -> None:
        self._lost = True
        self.stop()

    def _identity(self) -> Identity | None:
        identity = read_identity(self._settings.state_path)
        if identity is not None:
            return identity
        token = read_token(self._settings)
        if not token:
            raise ConfigError(
                "this host is not enrolled: set enrollment_token_file, or run devops-agent enroll"
            )
        return enroll_until_done(self._settings, token, self._stop)

    def _serve(self, credentials: CredentialSource) -> None:
        settings, journal = self._settings, self._journal
        boot_id, feed = facts.boot_id(), LiveFeed()
        groups = CommandGroups(own_cgroup(), owner=settings.state_dir)
        tracking = "subreaper" if become_subreaper() else "session"
        reporter = ReportLoop(
            settings=settings, journal=journal, feed=feed, credentials=credentials
        )
        executor = Executor(
            journal=journal,
            spawner=Spawner(
                settings.state_path / WORK_DIRECTORY,
                ChildRegistry(),
                facts.host_name(settings),
                groups,
            ),
            feed=feed,
            limits=Limits(settings.max_concurrency, settings.max_output_bytes),
            boot_id=boot_id,
            wake_reporter=reporter.wake,
        )
        poller = PollLoop(
            settings=settings,
            journal=journal,
            executor=executor,
            feed=feed,
            credentials=credentials,
            boot_id=boot_id,
            describe=lambda: facts.host_description(
                settings, "cgroup" if groups.in_use else tracking
            ),
        )
        executor.recover()
        reporting = _start("report", reporter.run)
        polling = _start("poll", poller.run)
        watch = StateWatch(journal=journal, refresh=poller.refresh, leave=self._leave)
        _start("watch", lambda: watch.run(self._stop))
        self._stop.wait()
        log.info("stopping")
        poller.stop()
        polling.join(timeout=1.0)
        executor.stop(settings.stop_grace_seconds)
        reporter.stop()
        reporting.join(timeout=FLUSH_SECONDS)
        reporter.abort()
        reporting.join(timeout=1.0)
        groups.close()


def run_until_signalled(settings: Settings) -> None:
    """Run the agent in this process. TERM or INT ends it in order, a second one at once.

    Raises ConfigError if it cannot start, NotNowError if it may a little later.
    """
    service = Service(settings)
    reader, writer = os.pipe()

    def on_signal(number: int, _: FrameType | None) -> None:
        """Only there so that the number is written: Python calls it once the main thread wakes."""

    def wait_for_signals() -> None:
        os.read(reader, 1)
        service.stop()
        os.read(reader, 1)
        log.warning("told to stop twice: leaving at once")
        os._exit(EXIT_AT_ONCE)

    # The pipe is written whichever thread the kernel gives the signal to. The main thread, which
    # alone runs handlers, may just have begun a wait that a signal of another thread does not end.
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    _start("signals", wait_for_signals)
    service.run()


def _open_journal(path: Path) -> Journal:
    try:
        return Journal(path)
    except (OSError, sqlite3.Error) as error:
        text = f"cannot use the journal {path}: {error}"
        no_room = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        if no_room or isinstance(error, sqlite3.OperationalError):
            raise NotNowError(text) from error
        raise ConfigError(text) from error


def _start(name: str, target: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread


def read_journal(state_dir: Path) -> tuple[dict[str, int], dict[str, str]]:
    """For ``status`` and ``drain``: fences by state, and notes. Reads only; no agent is needed."""
    path = state_dir / JOURNAL_FILE
    if not path.exists():
        return {}, {}
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        counts = dict(db.execute("SELECT state, count(*) FROM attempts GROUP BY state"))
        notes = dict(db.execute("SELECT key, value FROM meta WHERE key <> 'probe'"))
    return counts, notes
