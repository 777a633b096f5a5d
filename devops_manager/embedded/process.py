"""One server process: started with a chosen user, dying with its owner, stopped in bounded time."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from devops_manager.embedded.errors import EmbeddedError
from devops_manager.embedded.language import gettext as _

_PR_SET_PDEATHSIG = 1
_POLL_SECONDS = 0.02
_LOG_TAIL_BYTES = 4000

# Loaded before any fork: the child may only call what is already there.
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Account:
    """The user and group that a server runs as; both None means the current ones."""

    uid: int | None = None
    gid: int | None = None

    @property
    def extra_groups(self) -> list[int] | None:
        """The supplementary groups: none for another account, the current ones for our own."""
        return None if self.uid is None else []


def die_with_parent(death_signal: int) -> Callable[[], None]:
    """Return a ``preexec_fn`` that has the kernel send ``death_signal`` when the parent dies.

    The kernel means the *thread* that forked, so call ``Popen`` from one that lives as long as the
    owner. It runs after the user was changed, which would clear the setting.
    """
    parent = os.getpid()

    def arrange() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0)
        if os.getppid() != parent:  # it died before the call above
            os._exit(1)

    return arrange


class ServerProcess:
    """A process that can be started again after it stopped; never two at a time."""

    def __init__(
        self,
        *,
        name: str,
        account: Account,
        directory: Path,
        log_path: Path,
        death_signal: int,
    ) -> None:
        """Describe the process; ``directory`` is what it runs in, ``log_path`` takes its output."""
        self.name = name
        self.account = account
        self.directory = directory
        self.log_path = log_path
        self.death_signal = death_signal
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process id, for signals from fault tests; raises if it does not run."""
        if self._process is None or self._process.poll() is not None:
            raise EmbeddedError(_("%(name)s is not running") % {"name": self.name})
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def launch(self, arguments: list[str], *, standard_input: bytes = b"") -> None:
        """Start the process. Not ready yet: follow with ``wait_until``.

        Raises EmbeddedError when it runs already, or when the calling thread may end before the
        owner does, as the server would end with that thread.
        """
        if self.running:
            raise EmbeddedError(_("%(name)s is running already") % {"name": self.name})
        if threading.current_thread() is not threading.main_thread():
            raise EmbeddedError(
                _("%(name)s must be started from the main thread") % {"name": self.name}
            )
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=server_environment(),
                start_new_session=True,
                preexec_fn=die_with_parent(self.death_signal),  # noqa: PLW1509 - only prctl
                user=self.account.uid,
                group=self.account.gid,
                extra_groups=self.account.extra_groups,
            )
        if self._process.stdin is None:
            raise AssertionError("stdin was asked for")
        try:
            self._process.stdin.write(standard_input)
            self._process.stdin.close()
        except BrokenPipeError:
            pass  # it ended at once: wait_until tells why

    def wait_until(self, ready: Callable[[], bool], *, seconds: float) -> None:
        """Wait until ``ready()``; raises EmbeddedError with the end of the log if it never is."""
        deadline = time.monotonic() + seconds
        while not ready():
            if not self.running:
                raise self._failure(_("%(name)s stopped while starting"))
            if time.monotonic() > deadline:
                self.stop(signal.SIGKILL, seconds=5)
                raise self._failure(_("%(name)s did not become ready"))
            time.sleep(_POLL_SECONDS)

    def stop(self, how: int, *, seconds: float) -> None:
        """Send the signal ``how``, wait ``seconds`` at most, then kill. Harmless when stopped."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(how)
            if how != signal.SIGKILL:
                process.send_signal(signal.SIGCONT)  # a frozen one would not hear it
        try:
            process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._process = None

    def _failure(self, template: str) -> EmbeddedError:
        text = template % {"name": self.name}
        return EmbeddedError(f"{text}\n{log_tail(self.log_path)}".rstrip())


def server_environment() -> dict[str, str]:
    """Return the little environment that a server gets: no ``PG*`` variables, no secrets."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def log_tail(path: Path) -> str:
    """Return the last lines of a log file, or nothing when there is none."""
    try:
        data = path.read_bytes()
    except OSError:
        return ""
    return data[-_LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()
