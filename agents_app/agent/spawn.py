"""Starting a command: its account, environment and private files, in a session of its own."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from agents_app.agent.accounts import Account, build_environment, resolve_account
from agents_app.agent.cgroup import CommandGroup, CommandGroups
from agents_app.agent.children import ChildRegistry
from agents_app.agent.identity import make_passable
from agents_app.agent.interpreters import SHELL, interpreter_of, missing_from_path
from agents_app.agent.launch import Launcher, Started, working_directory_missing
from agents_app.agent.messages import Command
from agents_app.agent.processes import Process, read_process
from agents_app.agent.start_error import StartError
from agents_app.agent.tree import pids_with_fence
from agents_app.protocol import KIND_COMMAND

# A command's text reaches its shell as a file on descriptor 9, so it never shows in the process
# list, and the shell's messages ("/dev/fd/9: 1: foo: not found") are the same on every host, which
# lets equal outputs be grouped. The text's first line closes the descriptor again.
_LAUNCH = 'exec /bin/sh /dev/fd/9 "$@" 9<&0 </dev/null'
_CLOSE = b"exec 9<&-;"


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
        self._launcher = Launcher(children, self._groups)
        self._lock = threading.Lock()
        shutil.rmtree(work_dir, ignore_errors=True)

    @contextlib.contextmanager
    def started(self, command: Command) -> Iterator[Started]:
        """The running process, with its output on pipes. Its files go at the end. StartError."""
        if command.defect:
            raise StartError("invalid_command", f"The command is not valid: {command.defect}.")
        account = resolve_account(command.run_as)
        cwd = self._working_directory(command, account)
        environment = build_environment(command, account, self.hostname)
        with contextlib.ExitStack() as files:
            argv, stdin = self._what_to_run(command, account, environment, files)
            started = self._launcher.start(
                argv,
                account=account,
                cwd=cwd,
                environment=environment,
                stdin=stdin,
                label=command.fence,
            )
            self._note(command.fence, started.process.pid)
            try:
                yield started
            finally:
                self.forget(command.fence)
                self._launcher.over(started.process, started.group)

    def _what_to_run(
        self,
        command: Command,
        account: Account,
        environment: Mapping[str, str],
        files: contextlib.ExitStack,
    ) -> tuple[list[str], BinaryIO | int]:
        """The words to start and what to give as stdin; the text is in a file of ``files``."""
        try:
            if command.kind == KIND_COMMAND:
                stdin = files.enter_context(_text_on_descriptor(command.body, account))
                return [SHELL, "-c", _LAUNCH, "sh", *command.parameters], stdin
            words = interpreter_of(command.interpreter, command.body)
            missing = missing_from_path(words, environment["PATH"])
            if missing:
                raise StartError(
                    "exec_failed", f"{missing} cannot be started: {words[0]} does not find it."
                )
            script = files.enter_context(self._script(command, account))
        except ValueError as error:
            raise StartError("exec_failed", f"It cannot be started: {error}.") from error
        except OSError as error:
            raise StartError(
                "script_not_written", f"Its text cannot be written: {error.strerror}."
            ) from error
        return [*words, str(script), *command.parameters], subprocess.DEVNULL

    def _working_directory(self, command: Command, account: Account) -> str:
        """The command's directory, else the account's home, else the root."""
        wanted = command.working_directory
        if not wanted and not account.switch:
            home = account.home
            return home if home and os.access(f"{home}/.", os.X_OK) else "/"
        directory = wanted or account.home
        if not directory.startswith("/"):
            reason = "it does not begin with /"
        elif "\0" in directory:
            reason = "it has a NUL character"
        else:
            label = f"{command.fence}-look"
            reason = self._launcher.why_not_into(directory, account, label)
        if not reason:
            return directory
        if not wanted:
            return "/"
        raise working_directory_missing(wanted, reason)

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

    @contextlib.contextmanager
    def _script(self, command: Command, account: Account) -> Iterator[Path]:
        """A file that only the account can read and run, in a directory that only it can enter.

        The directory is named after the text, so a traceback reads the same on every host.
        """
        text = command.body.encode()
        name = hashlib.sha256(text).hexdigest()[:12]
        with self._lock:
            make_passable(self._work_dir)
            directory = self._work_dir / name
            number = 1
            while directory.exists():
                number += 1
                directory = self._work_dir / f"{name}-{number}"
            directory.mkdir(mode=0o700)
        try:
            script = directory / "script"
            # A process that is forked while the file is open for writing would keep it so until its
            # own exec, and the kernel runs no file that is open for writing.
            with self._children.starting():
                descriptor = os.open(script, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o500)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(text)
            if account.switch:
                os.chown(script, account.uid, account.gid)
                os.chown(directory, account.uid, account.gid)
                self._check_reachable(directory, account, command.fence)
            yield script
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _check_reachable(self, directory: Path, account: Account, fence: str) -> None:
        """Script files are no use to a user who may not pass through what is above them."""
        for parent in directory.parents:
            if account.may_pass(parent.stat()):
                continue
            if self._launcher.why_not_into(str(directory), account, f"{fence}-look"):
                raise StartError(
                    "run_as_failed",
                    f"{account.name} may not pass through {parent}, where the script would be.",
                )
            return


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
