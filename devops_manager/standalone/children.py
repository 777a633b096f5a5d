"""The processes that a run starts: watched, restarted when they die, stopped in reverse order."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from devops_manager.embedded.language import gettext as _
from devops_manager.embedded.process import die_with_parent, log_tail
from devops_manager.standalone.errors import StandaloneError
from devops_manager.standalone.terminal import Waiting, progress

STOP_SECONDS = 10.0
MAX_RESTARTS = 3
RESTART_PAUSE_SECONDS = 1.0
_POLL_SECONDS = 0.1
_LOG_LINES = 15


@dataclass
class Child:
    """One process and how to start it again. Its output goes to ``log_path``."""

    name: str
    arguments: list[str]
    environment: Mapping[str, str]
    log_path: Path
    directory: Path
    restarts: int = 0
    cleared: bool = False
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self, *, inherited: tuple[int, ...] = ()) -> None:
        """Start the process in a session of its own, so that a Ctrl-C at the terminal is ours."""
        self.cleared = False
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=dict(self.environment),
                start_new_session=True,
                preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509 - only prctl
                pass_fds=inherited,
            )

    def stop(self) -> None:
        """End the process and what it started; killed when it takes too long. Harmless twice."""
        process = self.process
        if process is None or self.cleared:
            return
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                progress(_("%(name)s does not stop and is killed") % {"name": self.name})
        self.kill()

    def kill(self) -> None:
        """Kill the process and what it started, without a warning. Harmless twice."""
        process = self.process
        if process is None or self.cleared:
            return
        # Also after a clean end: a worker process of it may have been left.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self.cleared = True  # its number may belong to another program from now on

    @property
    def exit_status(self) -> int | None:
        """The status it ended with, or None while it runs."""
        return None if self.process is None else self.process.poll()

    def last_lines(self) -> str:
        """Return the end of its log."""
        return "\n".join(
            f"    {line}" for line in log_tail(self.log_path).split("\n")[-_LOG_LINES:]
        )


class Children:
    """All processes of one run. Use from the main thread only: they end with the thread."""

    def __init__(self, *, inherited: tuple[int, ...] = ()) -> None:
        """``inherited`` are file descriptors that every child keeps open for its lifetime."""
        self._children: list[Child] = []
        self._inherited = inherited

    def start(self, child: Child) -> None:
        """Start a child and keep an eye on it from now on."""
        child.log_path.parent.mkdir(parents=True, exist_ok=True)
        child.log_path.unlink(missing_ok=True)
        child.start(inherited=self._inherited)
        self._children.append(child)

    def check(self) -> None:
        """Restart what died and say so.

        Raises StandaloneError, with the end of its log, for a child that keeps dying.
        """
        for child in self._children:
            status = child.exit_status
            if status is None:
                continue
            detail = {"name": child.name, "status": _in_words(status), "log": child.log_path}
            if child.restarts >= MAX_RESTARTS:
                text = _("%(name)s keeps stopping (%(status)s); its log is %(log)s") % detail
                raise StandaloneError(f"{text}\n{child.last_lines()}")
            text = _("%(name)s stopped (%(status)s) and is started again; last lines:") % detail
            progress(f"{text}\n{child.last_lines()}")
            child.restarts += 1
            child.kill()  # what it leaves behind would hold its port
            time.sleep(RESTART_PAUSE_SECONDS)
            child.start(inherited=self._inherited)

    def wait_for(self, what: str, ready: Callable[[], bool], *, seconds: float) -> None:
        """Wait until ``ready()``, showing each second and watching the children.

        Raises StandaloneError when ``seconds`` are over first.
        """
        waiting = Waiting(what)
        try:
            while not ready():
                self.check()
                if waiting.seconds > seconds:
                    raise StandaloneError(
                        _("Waited %(seconds)d s for %(what)s, in vain")
                        % {"seconds": seconds, "what": what}
                    )
                waiting.tick()
                time.sleep(_POLL_SECONDS)
        finally:
            waiting.done()

    def watch(self) -> None:
        """Watch the children until something interrupts."""
        while True:
            self.check()
            time.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Stop all, the last started first; what does not stop in time is killed."""
        while self._children:
            self._children.pop().stop()


def _in_words(status: int) -> str:
    if status >= 0:
        return _("exit status %(status)d") % {"status": status}
    return _("signal %(signal)s") % {"signal": signal.Signals(-status).name}
