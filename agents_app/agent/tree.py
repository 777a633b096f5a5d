"""Finding and signalling every process of a command, children that left its group included.

A process belongs to a command if it is in the command's session or process group, carries the
command's fence in its environment, descends from one that does, or is in the command's cgroup.
Where there is no cgroup, one that cleared its environment *and* left the session *and* lost its
parent cannot be told apart.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from pathlib import Path

from agents_app.agent.cgroup import CommandGroup
from agents_app.agent.processes import Process, process_table, read_process

FENCE_VARIABLE = "DM_FENCE"

_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> bool:
    """Have orphans of commands come to the agent instead of to init, where they would be lost.

    False on systems without it; there, descendants are found by session and environment.
    """
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None, use_errno=True)
        return int(library.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)) == 0
    return False


def carries_fence(pid: int, fence: str) -> bool:
    """Whether the process was started with this fence in its environment."""
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"{FENCE_VARIABLE}={fence}".encode() in environment.split(b"\0")


def pids_with_fence(fence: str) -> list[int]:
    """The live processes that carry the fence, the agent itself left out."""
    return [
        process.pid
        for process in process_table().values()
        if process.state != "Z" and process.pid != os.getpid() and carries_fence(process.pid, fence)
    ]


class ProcessTree:
    """The processes of one command, found anew at each question."""

    def __init__(self, root_pid: int, fence: str, group: CommandGroup | None = None) -> None:
        """``root_pid`` leads the command's session and must not be reaped while this is used.

        ``group`` is the command's cgroup, if it has one.
        """
        self._root_pid = root_pid
        self._fence = fence
        self._group = group
        root = read_process(root_pid)
        self._root_started = root.started if root else 0

    def alive(self) -> list[Process]:
        """The members that still run."""
        grouped = self._group.pids() if self._group is not None else set()
        table = process_table()
        table.pop(os.getpid(), None)
        children: dict[int, list[int]] = {}
        for process in table.values():
            children.setdefault(process.parent, []).append(process.pid)
        found: set[int] = set()
        pending = [p.pid for p in table.values() if p.pid in grouped or self._is_own(p)]
        while pending:
            pid = pending.pop()
            if pid not in found:
                found.add(pid)
                pending.extend(children.get(pid, ()))
        return [table[pid] for pid in found if table[pid].state not in "ZX"]

    def command_lines(self) -> list[str]:
        """The command lines of the members that still run."""
        lines = []
        for process in self.alive():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{process.pid}/cmdline").read_bytes()
                lines.append(words.replace(b"\0", b" ").decode("utf-8", "replace"))
        return lines

    def _is_own(self, process: Process) -> bool:
        if self._root_pid in (process.pid, process.session, process.group):
            return True
        return process.started >= self._root_started and carries_fence(process.pid, self._fence)

    def send(self, number: int) -> list[Process]:
        """Signal every member; returns whom. A member that ends meanwhile is no error."""
        members = self.alive()
        # The group first: one call that no fork can slip through.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._root_pid, number)
        for process in members:
            if process.group == self._root_pid:
                continue
            now = read_process(process.pid)
            if now is not None and now.started == process.started:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(process.pid, number)
        return members

    def kill(self) -> list[Process]:
        """KILL every member."""
        if self._group is not None:
            self._group.kill()
        return self.send(signal.SIGKILL)
