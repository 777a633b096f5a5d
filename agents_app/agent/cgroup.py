"""A cgroup of its own for each command, where the agent may make one.

It holds every process that the command starts, whatever became of its session, its parent and its
environment. Where there is no cgroup v2, or it is not the agent's to divide, commands run without
one, and ``tree`` finds what it can.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import threading
from pathlib import Path

log = logging.getLogger(__name__)

MOUNTS = Path("/proc/self/mountinfo")
# A process that forks while its command is being moved is looked for so often.
_PASSES = 20


class CommandGroup:
    """The cgroup of one command. It outlives the command as long as anything runs in it."""

    def __init__(self, path: Path) -> None:
        """``path`` is its directory, which exists."""
        self.path = path

    def pids(self) -> set[int]:
        """The live processes in it, and in those that the command made below it."""
        found: set[int] = set()
        for file in self.path.rglob("cgroup.procs"):
            found |= _pids_in(file)
        return found

    def add(self, pid: int) -> None:
        """Move a process into it; what it starts from then on is in it. Raises OSError."""
        (self.path / "cgroup.procs").write_text(str(pid), encoding="ascii")

    def kill(self) -> None:
        """KILL all of it in one stroke that no fork escapes; nothing before Linux 5.14."""
        # If the agent itself was moved in here, whoever did it, it does not kill itself.
        if os.getpid() not in self.pids():
            with contextlib.suppress(OSError):
                (self.path / "cgroup.kill").write_text("1", encoding="ascii")


class CommandGroups:
    """Makes and removes the groups of one agent. Safe to use from several threads.

    The agent moves into a group of its own beside them. So what is in that group and is not the
    agent itself was forked by a command before the command could be moved.
    """

    def __init__(self, parent: Path | None, owner: str = "") -> None:
        """``parent`` is the cgroup that the agent was started in, None for no groups at all.

        ``owner`` tells the groups of agents apart that share it; empty ones of earlier starts are
        removed. Where groups cannot be made there are none.
        """
        self._parent = parent
        self._lock = threading.Lock()
        self._left: set[Path] = set()
        self._name = group_name(owner)
        if parent is None:
            return
        self._own = parent / self._name
        try:
            self._own.mkdir(exist_ok=True)
            CommandGroup(self._own).add(os.getpid())
        except OSError as error:
            self._give_up(error)
            return
        self._left.update(parent.glob(self._name + "-*"))
        self.sweep()

    def close(self) -> None:
        """Leave the agent's own group, and remove it."""
        if self._parent is not None:
            with contextlib.suppress(OSError):
                CommandGroup(self._parent).add(os.getpid())
                self._own.rmdir()
            self._parent = None

    @property
    def in_use(self) -> bool:
        """Whether commands get groups."""
        return self._parent is not None

    def find(self, fence: str) -> CommandGroup | None:
        """The group of a command that an earlier start of the agent made."""
        if self._parent is None:
            return None
        path = self._parent / f"{self._name}-{fence}"
        return CommandGroup(path) if path.is_dir() else None

    def take_in(self, pid: int, fence: str) -> CommandGroup | None:
        """Move a command that was just started, with all that it has forked, into a group, or None.

        No other command may be started meanwhile.
        """
        if self._parent is None:
            return None
        group = CommandGroup(self._parent / f"{self._name}-{fence}")
        try:
            group.path.mkdir()
            with contextlib.suppress(ProcessLookupError):  # it is over already
                group.add(pid)
        except OSError as error:
            self._give_up(error)
            with contextlib.suppress(OSError):
                group.path.rmdir()
            return None
        for _ in range(_PASSES):
            strays = _pids_in(self._own / "cgroup.procs") - {os.getpid()}
            if not strays:
                break
            for stray in strays:
                with contextlib.suppress(OSError):  # it has ended meanwhile
                    group.add(stray)
        return group

    def release(self, group: CommandGroup) -> None:
        """The command is over: remove its group as soon as nothing runs in it any more."""
        with self._lock:
            self._left.add(group.path)
        self.sweep()

    def sweep(self) -> None:
        """Remove the groups of commands that are over and have left nothing."""
        with self._lock:
            for path in list(self._left):
                with contextlib.suppress(OSError):
                    for below in sorted(path.rglob("*"), reverse=True):
                        if below.is_dir():
                            below.rmdir()
                    path.rmdir()
                if not path.exists():
                    self._left.discard(path)

    def _give_up(self, error: OSError) -> None:
        log.info("commands get no cgroups of their own: %s", error)
        self._parent = None


def group_name(owner: str) -> str:
    """What the agent's own group is called, and its commands' groups begin with."""
    return f"devops-agent-{hashlib.sha256(owner.encode()).hexdigest()[:8]}"


def own_cgroup() -> Path | None:
    """The cgroup of version 2 that this process is in, if that can be seen."""
    own = _own_name()
    if own is None:
        return None
    try:
        lines = MOUNTS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        mounted, _, kind = line.partition(" - ")
        if kind.split(" ", 1)[0] != "cgroup2":
            continue
        root, place = mounted.split()[3:5]
        if own == root or own.startswith(root.rstrip("/") + "/"):
            path = Path(place + "/" + own[len(root.rstrip("/")) :].lstrip("/"))
            return path if path.is_dir() else None
    return None


def _own_name() -> str | None:
    """The cgroup v2 of this process as /proc names it, or None."""
    try:
        text = Path("/proc/self/cgroup").read_text(encoding="utf-8")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("0::"):
            return line[3:]
    return None


def _pids_in(file: Path) -> set[int]:
    try:
        found = {int(line) for line in file.read_text(encoding="ascii").split()}
    except OSError:
        return set()
    return found - {0}  # how a process of another pid namespace is listed
