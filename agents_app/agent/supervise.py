"""One running command: reads its output, and ends its whole tree on timeout, cancel or stop."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable

from agents_app.agent.handed_over import handed_over
from agents_app.agent.launch import Started
from agents_app.agent.messages import Command
from agents_app.agent.output import Capture
from agents_app.agent.records import Outcome, exit_outcome
from agents_app.agent.spawn import Spawner
from agents_app.agent.start_error import StartError
from agents_app.agent.tree import ProcessTree
from agents_app.protocol import (
    RESULT_CANCELED,
    RESULT_FAILED,
    RESULT_INTERRUPTED,
    RESULT_TIMEOUT,
    STREAMS,
)

READ_BYTES = 65536
# After the command itself ended, a background child may hold its pipes for ever. What is written
# already is read, a pause of this length ends the reading, and so does this much time in all.
QUIET_SECONDS = 0.2
DRAIN_SECONDS = 1.0
# How often the tree is looked at while it is being ended, and how long KILL may take to work.
CHECK_SECONDS = 0.1
KILL_SECONDS = 5.0
# Without pidfd (Linux before 5.3) the end of a process that closed its output is seen so late.
NO_PIDFD_SECONDS = 0.2

_MESSAGES = {
    RESULT_TIMEOUT: ("timeout", "It ran longer than {timeout:g} s and was ended."),
    RESULT_CANCELED: ("canceled", "It was canceled and ended."),
    RESULT_INTERRUPTED: ("agent_stopped", "The agent was stopped, which ended the command."),
}
# The codes where the command gave work to something that is not of its tree.
_HANDED_OVER = {
    RESULT_TIMEOUT: "timeout_work_may_go_on",
    RESULT_CANCELED: "canceled_work_may_go_on",
    RESULT_INTERRUPTED: "agent_stopped_work_may_go_on",
}


class EndWish:
    """How a command is to end, once somebody wants it to: asked from any thread."""

    def __init__(self, grace_seconds: float) -> None:
        """Nobody wants it yet; ``grace_seconds`` lie between TERM and KILL."""
        self.status = ""
        self.grace_seconds = grace_seconds
        self._lock = threading.Lock()

    def add(self, status: str, grace_seconds: float | None) -> None:
        """Want it to end as ``status``; the first wish counts, and the shortest grace."""
        with self._lock:
            self.status = self.status or status
            if grace_seconds is not None:
                self.grace_seconds = min(self.grace_seconds, grace_seconds)


class Supervision:
    """One command from its start to its end. ``execute`` runs in a thread of its own."""

    def __init__(self, command: Command, spawner: Spawner, output_cap_bytes: int) -> None:
        """Nothing is started yet; output of each stream is kept up to ``output_cap_bytes``."""
        self.command = command
        self.captures = {stream: Capture(output_cap_bytes) for stream in STREAMS}
        self.on_started = threading.Event()
        self.on_output: Callable[[], None] = lambda: None
        self._spawner = spawner
        self._wish = EndWish(command.kill_grace_seconds)
        self._wake_lock = threading.Lock()
        self._wake_reader, self._wake_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def request_end(self, status: str, *, grace_seconds: float | None = None) -> None:
        """Ask for the end of the tree, to be reported as ``status``. The first request counts.

        A shorter grace given later still shortens the wait. May be called from any thread.
        """
        self._wish.add(status, grace_seconds)
        with self._wake_lock:
            if self._wake_writer >= 0:
                with contextlib.suppress(BlockingIOError):
                    os.write(self._wake_writer, b".")

    def execute(self) -> Outcome:
        """Start the command and see it to its end. Never raises for what a command may do."""
        if self._wish.status:
            self._close_wake()
            return never_started(self._wish.status)
        started_at = time.time()
        clock = time.monotonic()
        try:
            with self._spawner.started(self.command) as started:
                clock = started.clock
                started_at = time.time() - (time.monotonic() - clock)
                self.on_started.set()
                outcome = self._watch(started)
        except StartError as error:
            outcome = Outcome(RESULT_FAILED, error_code=error.code, error_message=str(error))
        finally:
            self._close_wake()
        return dataclasses.replace(
            outcome,
            execution_time_ms=int((time.monotonic() - clock) * 1000),
            started_at=started_at,
            finished_at=time.time(),
        )

    def _close_wake(self) -> None:
        self.on_started.set()
        with self._wake_lock:
            os.close(self._wake_reader)
            os.close(self._wake_writer)
            self._wake_writer = -1

    def _watch(self, started: Started) -> Outcome:
        process = started.process
        tree = ProcessTree(process.pid, self.command.fence, started.group)
        try:
            ending = self._follow(started, tree)
        except BaseException:
            # A defect here must not leave a command running that nobody watches.
            tree.kill()
            raise
        # Reaped last: until here the pid, and with it session and group, could not be reused.
        return self._outcome(_reap(process), ending)

    def _follow(self, started: Started, tree: ProcessTree) -> Ending | None:
        """Read output until the command is over; how it was ended, or None if by itself."""
        pipes = (started.stdout, started.stderr)
        watcher = _Watcher(started.process.pid, self._wake_reader)
        with started.stdout, started.stderr, watcher:
            for stream, pipe in zip(STREAMS, pipes):
                watcher.add(pipe.fileno(), self.captures[stream])
            ending = None
            while not watcher.exited():
                left = started.clock + self.command.timeout_seconds - time.monotonic()
                if self._wish.status or left <= 0:
                    ending = Ending(self.command, tree, self._wish.status or RESULT_TIMEOUT)
                    break
                if watcher.wait(left):
                    self.on_output()
            if ending is not None:
                while not ending.is_over(watcher.exited(), self._wish.grace_seconds):
                    watcher.wait(CHECK_SECONDS)
            self._drain(watcher)
        return ending

    def _drain(self, watcher: _Watcher) -> None:
        until = time.monotonic() + DRAIN_SECONDS
        while watcher.open_streams():
            left = until - time.monotonic()
            if left <= 0 or not watcher.wait(min(QUIET_SECONDS, left), streams_only=True):
                return

    def _outcome(self, return_code: int | None, ending: Ending | None) -> Outcome:
        plain = exit_outcome(return_code) if return_code is not None else None
        if ending is None:
            assert plain is not None
            return plain
        return ending.outcome(plain.exit_code if plain else None)


def never_started(status: str) -> Outcome:
    """The outcome of a command that was ended before it began."""
    return Outcome(status, error_code=status, error_message="It was never started.")


class _Watcher:
    """Waits for output, the end of the process, or a request. Pipes are read until they are shut,
    whoever holds their other end.
    """

    def __init__(self, pid: int, wake_descriptor: int) -> None:
        self._pid = pid
        self._wake = wake_descriptor
        self._selector = selectors.DefaultSelector()
        self._captures: dict[int, Capture] = {}
        self._selector.register(wake_descriptor, selectors.EVENT_READ)
        self._pidfd = -1
        with contextlib.suppress(OSError, AttributeError):
            self._pidfd = os.pidfd_open(pid)
            self._selector.register(self._pidfd, selectors.EVENT_READ)

    def __enter__(self) -> _Watcher:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)

    def add(self, descriptor: int, capture: Capture) -> None:
        os.set_blocking(descriptor, False)
        self._captures[descriptor] = capture
        self._selector.register(descriptor, selectors.EVENT_READ)

    def open_streams(self) -> int:
        return len(self._captures)

    def exited(self) -> bool:
        """Whether the process ended. It stays a zombie, so that its pid stays its own."""
        return os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def wait(self, seconds: float, *, streams_only: bool = False) -> bool:
        """Wait for one event at most so long; True if output came (or, drained, a stream shut)."""
        if streams_only:
            self._forget_process()
        elif self._pidfd < 0:
            seconds = min(seconds, NO_PIDFD_SECONDS)
        got = False
        for key, _ in self._selector.select(max(seconds, 0)):
            if key.fd in self._captures:
                got = self._read(key.fd) or got or streams_only
            elif key.fd == self._wake:
                os.read(self._wake, 64)
            else:
                self._forget_process()
        return got

    def _forget_process(self) -> None:
        """Once the process ended its descriptor is ready for ever: stop watching it."""
        if self._pidfd >= 0:
            self._selector.unregister(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def _read(self, descriptor: int) -> bool:
        try:
            data = os.read(descriptor, READ_BYTES)
        except BlockingIOError:
            return False
        if data:
            self._captures[descriptor].feed(data)
            return True
        self._selector.unregister(descriptor)
        del self._captures[descriptor]
        return False


class Ending:
    """TERM to the whole tree, after the grace KILL until nothing of it is left."""

    def __init__(self, command: Command, tree: ProcessTree, status: str) -> None:
        """Send TERM now; ``status`` is what becomes of the command."""
        self._command = command
        self._status = status
        self._handed_over = handed_over([command.body, *tree.command_lines()])
        self._left_over: list[int] = []
        self._tree = tree
        self._since = time.monotonic()
        self._next_look = 0.0
        tree.send(signal.SIGTERM)
        # A stopped process would sit out its grace without seeing TERM.
        tree.send(signal.SIGCONT)

    def is_over(self, exited: bool, grace_seconds: float) -> bool:
        """Look at the tree, at most every CHECK_SECONDS; True when it is gone or given up."""
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + CHECK_SECONDS
        past_grace = now - self._since - grace_seconds
        alive = self._tree.alive() if past_grace < 0 else self._tree.kill()
        if not alive:
            return exited
        if past_grace > KILL_SECONDS:
            self._left_over = sorted(process.pid for process in alive)
            return True
        return False

    def outcome(self, exit_code: int | None) -> Outcome:
        """The outcome of the command that was ended so.

        An exit code of 0 would say that it did all that it was to do, so it is told in words.
        """
        code, message = _MESSAGES[self._status]
        message = message.format(timeout=self._command.timeout_seconds)
        if exit_code == 0:
            exit_code = None
            message += " Told to end, it ended with exit code 0."
        if self._handed_over:
            code = _HANDED_OVER[self._status]
            message += f" What it gave to {', '.join(self._handed_over)} may go on."
        if self._left_over:
            message += f" Could not be ended: pid {', '.join(map(str, self._left_over))}."
        return Outcome(self._status, exit_code, error_code=code, error_message=message)


def _reap(process: subprocess.Popen[bytes]) -> int | None:
    """The return code; None for a process that even KILL did not end (stuck in the kernel)."""
    try:
        return process.wait(timeout=1.0)
    except subprocess.TimeoutExpired:
        return None
