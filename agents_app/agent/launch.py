"""Starting a process as an account, in a directory that this account may enter."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from agents_app.agent.accounts import SEARCH_PATH, Account
from agents_app.agent.cgroup import CommandGroup, CommandGroups
from agents_app.agent.children import ChildRegistry
from agents_app.agent.interpreters import SHELL
from agents_app.agent.start_error import StartError

# A file system whose server is away answers nobody, for hours or for ever.
LOOK_SECONDS = 10.0

_ENTER = 'cd -- "$1" && shift && exec "$@"'


class Started(NamedTuple):
    """A command that runs, the ends of its output, and its cgroup if it has one.

    ``clock`` is the monotonic time just before it was forked.
    """

    process: subprocess.Popen[bytes]
    stdout: BinaryIO
    stderr: BinaryIO
    group: CommandGroup | None
    clock: float


class _Forked(NamedTuple):
    process: subprocess.Popen[bytes]
    group: CommandGroup | None
    clock: float


class Launcher:
    """Starts processes, each in a session, and where there are any in a cgroup, of its own."""

    def __init__(self, children: ChildRegistry, groups: CommandGroups) -> None:
        """What is started is known to ``children`` until ``over`` was called for it."""
        self._children = children
        self._groups = groups

    def start(
        self,
        argv: Sequence[str],
        *,
        account: Account,
        cwd: str,
        environment: Mapping[str, str],
        stdin: BinaryIO | int,
        label: str,
    ) -> Started:
        """Start a command whose output goes to pipes of the account. Raises StartError.

        The account owns the pipes, so it may open them once more as ``/dev/stdout``.
        """
        with contextlib.ExitStack() as readers, contextlib.ExitStack() as writers:
            try:
                stdout, stdout_in = _pipe(account, readers, writers)
                stderr, stderr_in = _pipe(account, readers, writers)
                streams = (stdin, stdout_in, stderr_in)
                try:
                    forked = self._popen(argv, account, cwd, environment, streams, label)
                except PermissionError as error:
                    if error.filename != cwd or not account.switch:
                        raise
                    # On a network file system root may have fewer rights than the account: let the
                    # account itself go there.
                    entering = [SHELL, "-c", _ENTER, SHELL, cwd, *argv]
                    forked = self._popen(entering, account, "/", environment, streams, label)
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                raise _start_error(error, argv[0], cwd, account) from error
            readers.pop_all()
            return Started(forked.process, stdout, stderr, forked.group, forked.clock)

    def over(self, process: subprocess.Popen[bytes], group: CommandGroup | None) -> None:
        """The process was waited for, or is given up."""
        self._children.release(process.pid)
        if group is not None:
            self._groups.release(group)

    def why_not_into(self, directory: str, account: Account, label: str) -> str:
        """Why the account cannot enter a directory, in the system's words; empty if it can.

        Asked by a process of the account: access lists and file servers have their say, and a file
        system that does not answer holds up neither this thread nor other commands.
        """
        argv = ["ls", "-d", "--", f"{directory}/."]
        environment = {"PATH": SEARCH_PATH, "LC_ALL": "C"}
        streams = (subprocess.DEVNULL, subprocess.DEVNULL, subprocess.PIPE)
        try:
            process, group, _ = self._popen(argv, account, "/", environment, streams, label)
        except FileNotFoundError:
            return ""  # without ls nothing can be said
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise _start_error(error, argv[0], "/", account) from error
        try:
            _, said = process.communicate(timeout=LOOK_SECONDS)
        except subprocess.TimeoutExpired:
            _give_up(process)
            return f"nothing was heard of its file system within {LOOK_SECONDS:g} s"
        finally:
            self.over(process, group)
        if process.returncode == 0:
            return ""
        reason = said.decode("utf-8", "replace").strip().rpartition(": ")[2]
        return _in_a_sentence(reason or "it cannot be looked at")

    def _popen(
        self,
        argv: Sequence[str],
        account: Account,
        cwd: str,
        environment: Mapping[str, str],
        streams: tuple[BinaryIO | int, BinaryIO | int, BinaryIO | int],
        label: str,
    ) -> _Forked:
        groups = account.groups() if account.switch else None
        with self._children.starting() as pids:
            clock = time.monotonic()
            process = subprocess.Popen(
                argv,
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                bufsize=0,
                cwd=cwd,
                env=environment,
                start_new_session=True,
                umask=0o022,
                user=account.uid if account.switch else None,
                group=account.gid if account.switch else None,
                extra_groups=groups,
            )
            group = self._groups.take_in(process.pid, label)
            pids.add(process.pid)
            return _Forked(process, group, clock)


def _pipe(
    account: Account, readers: contextlib.ExitStack, writers: contextlib.ExitStack
) -> tuple[BinaryIO, BinaryIO]:
    reader, writer = os.pipe2(os.O_CLOEXEC)
    both = (
        readers.enter_context(os.fdopen(reader, "rb", buffering=0)),
        writers.enter_context(os.fdopen(writer, "wb", buffering=0)),
    )
    if account.switch:
        os.fchown(writer, account.uid, account.gid)
    return both


def _give_up(process: subprocess.Popen[bytes]) -> None:
    """Kill it; stuck in the kernel, it is collected with the orphans whenever it ends."""
    process.kill()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(timeout=1.0)
    if process.stderr is not None:
        process.stderr.close()


def _in_a_sentence(reason: str) -> str:
    return reason[:1].lower() + reason[1:]


def _start_error(error: Exception, program: str, cwd: str, account: Account) -> StartError:
    if not isinstance(error, OSError):
        return StartError("exec_failed", f"{program} cannot be started: {error}.")
    reason = _in_a_sentence(os.strerror(error.errno or 0))
    if error.errno == errno.EPERM and account.switch:
        return StartError("run_as_failed", f"It may not run as {account.name}: {reason}.")
    if error.filename == cwd:
        return working_directory_missing(cwd, reason)
    if error.errno == errno.EACCES and Path(program).is_dir():
        reason = "it is a directory"
    elif error.errno == errno.ENOENT and "/" in program and Path(program).exists():
        reason = "it is there, but the program that it needs in turn is not"
    return StartError("exec_failed", f"{program} cannot be started: {reason}.")


def working_directory_missing(directory: str, reason: str) -> StartError:
    """The error for a working directory that cannot be entered."""
    return StartError(
        "working_directory_missing",
        f"The working directory {directory} cannot be entered: {reason}.",
    )
