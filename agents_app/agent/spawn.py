"""Starting a command: its account, environment and private files, in a session of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import os
import pwd
import shlex
import shutil
import stat
import subprocess
import tempfile
import threading
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from agents_app.agent.cgroup import CommandGroup, CommandGroups
from agents_app.agent.messages import Command
from agents_app.agent.processes import Process, child_pids, read_process
from agents_app.agent.tree import FENCE_VARIABLE, pids_with_fence
from agents_app.protocol import KIND_COMMAND

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# A command's text reaches its shell as a file on descriptor 9, so it never shows in the process
# list, and the shell's messages ("/dev/fd/9: 1: foo: not found") are the same on every host, which
# lets equal outputs be grouped. The text's first line closes the descriptor again.
_LAUNCH = 'exec /bin/sh /dev/fd/9 "$@" 9<&0 </dev/null'
_CLOSE = b"exec 9<&-;"


class StartError(Exception):
    """A command could not be started. ``code`` is the result's ``error_code``."""

    def __init__(self, code: str, message: str) -> None:
        """``message`` is for people."""
        super().__init__(message)
        self.code = code


@dataclasses.dataclass(frozen=True)
class Account:
    """Whom a command runs as. ``switch`` is false for the agent's own user."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str
    switch: bool


class Started(NamedTuple):
    """A command that runs, and its cgroup if it has one."""

    process: subprocess.Popen[bytes]
    group: CommandGroup | None


class ChildRegistry:
    """The processes that the agent started itself, so that reaping orphans leaves them alone."""

    def __init__(self) -> None:
        """Nothing started yet."""
        self._lock = threading.Lock()
        self._pids: set[int] = set()

    @contextlib.contextmanager
    def starting(self) -> Iterator[set[int]]:
        """Hold off reaping until the new pid was added to the set."""
        with self._lock:
            yield self._pids

    def release(self, pid: int) -> None:
        """The process was reaped by who started it."""
        with self._lock:
            self._pids.discard(pid)

    def reap_orphans(self) -> None:
        """Collect ended processes that came to the agent from commands that are over."""
        with self._lock:
            for pid in child_pids("self"):
                if pid not in self._pids:
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(pid, os.WNOHANG)


def resolve_account(run_as: str) -> Account:
    """The account of ``run_as`` (a name or a uid), or the agent's own if empty. StartError."""
    own = os.geteuid()
    try:
        if not run_as:
            entry = pwd.getpwuid(own)
        elif run_as.isdigit():
            entry = pwd.getpwuid(int(run_as))
        else:
            entry = pwd.getpwnam(run_as)
    except (KeyError, ValueError, OverflowError) as error:
        if run_as:
            raise StartError("run_as_failed", f"There is no user {run_as} here.") from error
        return Account(str(own), own, os.getegid(), "/", "/bin/sh", switch=False)
    switch = entry.pw_uid != own
    if switch and own != 0:
        raise StartError(
            "run_as_failed", f"The agent does not run as root, so it cannot run as {run_as}."
        )
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir, entry.pw_shell, switch)


def build_environment(command: Command, account: Account, hostname: str) -> dict[str, str]:
    """A clean environment with the command's own on top; nothing of the agent's gets in."""
    environment = {
        "PATH": SEARCH_PATH,
        "HOME": account.home,
        "USER": account.name,
        "LOGNAME": account.name,
        "SHELL": account.shell or "/bin/sh",
        "LANG": "C.UTF-8",
    }
    environment.update(command.environment)
    environment.update(
        {
            FENCE_VARIABLE: command.fence,
            "DM_TASK_ID": command.task_id,
            "DM_COMMAND_ID": command.command_id,
            "DM_ATTEMPT": str(command.attempt),
            "DM_HOSTNAME": hostname,
        }
    )
    return environment


class Spawner:
    """Starts commands and removes what they needed on disk."""

    def __init__(
        self,
        work_dir: Path,
        children: ChildRegistry,
        hostname: str,
        groups: CommandGroups | None = None,
    ) -> None:
        """``work_dir`` is emptied: script files of an earlier agent are of no use.

        Commands find ``hostname`` in their environment: what people call this host. The server
        says it with each answer, so it may change.
        """
        self._work_dir = work_dir
        # Beside it, and not emptied: which process is whose main one, for the agent's next start.
        self._notes = work_dir.with_name("running")
        self._children = children
        self.hostname = hostname
        self._groups = groups or CommandGroups(None)
        self._lock = threading.Lock()
        shutil.rmtree(work_dir, ignore_errors=True)

    @contextlib.contextmanager
    def started(self, command: Command) -> Iterator[Started]:
        """The running process, with its output on pipes. Its files go at the end. StartError."""
        if command.defect:
            raise StartError("invalid_command", f"The command is not valid: {command.defect}.")
        account = resolve_account(command.run_as)
        cwd = _working_directory(command, account)
        with contextlib.ExitStack() as files:
            try:
                if command.kind == KIND_COMMAND:
                    argv = ["/bin/sh", "-c", _LAUNCH, "sh", *command.parameters]
                    stdin = files.enter_context(_text_on_descriptor(command.body, account))
                else:
                    script = files.enter_context(self._script(command.body, account))
                    interpreter = shlex.split(command.interpreter) or ["/bin/sh"]
                    argv = [*interpreter, str(script), *command.parameters]
                    stdin = files.enter_context(Path(os.devnull).open("rb"))
            except ValueError as error:
                raise StartError("exec_failed", f"It cannot be started: {error}.") from error
            except OSError as error:
                raise StartError(
                    "script_not_written", f"Its text cannot be written: {error.strerror}."
                ) from error
            started = self._popen(argv, command, account, cwd, stdin)
            self._note(command.fence, started.process.pid)
            try:
                yield started
            finally:
                self.forget(command.fence)
                self._children.release(started.process.pid)
                if started.group is not None:
                    self._groups.release(started.group)

    def _note(self, fence: str, pid: int) -> None:
        """Without a sync: a restart of the host ends the process as well."""
        process = read_process(pid)
        with contextlib.suppress(OSError):
            self._notes.mkdir(mode=0o700, exist_ok=True)
            (self._notes / fence).write_text(f"{pid} {process.started if process else 0}")

    def forget(self, fence: str) -> None:
        """The command is over, or given up."""
        with contextlib.suppress(OSError):
            (self._notes / fence).unlink()

    def forget_all_but(self, fences: Collection[str]) -> None:
        """Of commands of earlier starts, only these may still run."""
        with contextlib.suppress(OSError):
            for note in self._notes.iterdir():
                if note.name not in fences:
                    note.unlink()

    def survivor(self, fence: str) -> Process | None:
        """The main process of a command that an earlier start of the agent began, if it runs."""
        with contextlib.suppress(OSError, ValueError):
            pid, started = map(int, (self._notes / fence).read_text().split())
            process = read_process(pid)
            if process is not None and process.started == started and process.still_runs():
                return process
        return None

    def group_of(self, fence: str) -> CommandGroup | None:
        """The cgroup that an earlier start of the agent made for a command."""
        return self._groups.find(fence)

    def pids_of(self, fence: str) -> list[int]:
        """What still runs of such a command, in the background or not."""
        group = self._groups.find(fence)
        return sorted({*pids_with_fence(fence), *(group.pids() if group is not None else ())})

    def tidy(self) -> None:
        """Collect what ended in the background of commands that are over."""
        self._children.reap_orphans()
        self._groups.sweep()

    def _popen(
        self, argv: list[str], command: Command, account: Account, cwd: str, stdin: BinaryIO
    ) -> Started:
        user = account.uid if account.switch else None
        group = account.gid if account.switch else None
        try:
            groups = os.getgrouplist(account.name, account.gid) if account.switch else None
            with self._children.starting() as pids:
                process = subprocess.Popen(
                    argv,
                    stdin=stdin,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    bufsize=0,
                    cwd=cwd,
                    env=build_environment(command, account, self.hostname),
                    start_new_session=True,
                    umask=0o022,
                    user=user,
                    group=group,
                    extra_groups=groups,
                )
                taken_in = self._groups.take_in(process.pid, command.fence)
                pids.add(process.pid)
                return Started(process, taken_in)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise _start_error(error, argv[0], cwd, account) from error

    @contextlib.contextmanager
    def _script(self, body: str, account: Account) -> Iterator[Path]:
        """A file that only the account can read, in a directory that only it can enter.

        The directory is named after the text, so a traceback reads the same on every host.
        """
        text = body.encode()
        name = hashlib.sha256(text).hexdigest()[:12]
        with self._lock:
            self._work_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
            directory = self._work_dir / name
            number = 1
            while directory.exists():
                number += 1
                directory = self._work_dir / f"{name}-{number}"
            directory.mkdir(mode=0o700)
        try:
            script = directory / "script"
            descriptor = os.open(script, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
            with os.fdopen(descriptor, "wb") as file:
                file.write(text)
            if account.switch:
                os.chown(script, account.uid, account.gid)
                os.chown(directory, account.uid, account.gid)
                _check_reachable(directory.parent, account)
            yield script
        finally:
            shutil.rmtree(directory, ignore_errors=True)


@contextlib.contextmanager
def _text_on_descriptor(body: str, account: Account) -> Iterator[BinaryIO]:
    """An open file without a name that holds the command, readable by the account alone."""
    if hasattr(os, "memfd_create"):
        file: BinaryIO = os.fdopen(os.memfd_create("command", os.MFD_CLOEXEC), "w+b")
    else:
        descriptor, path = tempfile.mkstemp()
        Path(path).unlink()
        file = os.fdopen(descriptor, "w+b")
    with file:
        file.write(_CLOSE + body.encode())
        file.flush()
        os.fchmod(file.fileno(), 0o400)
        if account.switch:
            os.fchown(file.fileno(), account.uid, account.gid)
        yield file


def _working_directory(command: Command, account: Account) -> str:
    """The command's directory, else the account's home, else the root."""
    wanted = command.working_directory
    if not wanted:
        return account.home if Path(account.home).is_dir() else "/"
    if "\0" in wanted or not Path(wanted).is_dir():
        raise StartError(
            "working_directory_missing", f"The working directory {wanted} does not exist here."
        )
    return wanted


def _check_reachable(directory: Path, account: Account) -> None:
    """Script files are no use to a user who may not pass through the directories above them."""
    for parent in (directory, *directory.parents):
        found = parent.stat()
        mine = found.st_uid == account.uid and found.st_mode & stat.S_IXUSR
        if not mine and not found.st_mode & stat.S_IXOTH:
            raise StartError(
                "run_as_failed",
                f"{account.name} may not pass through {parent}, where the script would be.",
            )


def _start_error(error: Exception, program: str, cwd: str, account: Account) -> StartError:
    if isinstance(error, OSError):
        reason = os.strerror(error.errno or 0)
        if error.errno == errno.EPERM and account.switch:
            return StartError("run_as_failed", f"It may not run as {account.name}: {reason}.")
        if error.filename == cwd:
            return StartError("working_directory_missing", f"Cannot enter {cwd}: {reason}.")
        return StartError("exec_failed", f"{program} cannot be started: {reason}.")
    return StartError("exec_failed", f"{program} cannot be started: {error}.")
