"""The process table, as /proc shows it."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import NamedTuple


class Process(NamedTuple):
    """A line of the process table. ``started`` tells a reused pid from the process it was."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    started: int

    def age_seconds(self) -> float:
        """How long ago it was started, whatever was done to the clock since."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.started / os.sysconf("SC_CLK_TCK")

    def still_runs(self) -> bool:
        """Whether it is this very process that has the pid now, and it has not ended."""
        now = read_process(self.pid)
        return now is not None and now.started == self.started and now.state not in "ZX"


def process_table() -> dict[int, Process]:
    """All processes, zombies included, by pid."""
    table = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            process = read_process(int(entry.name))
            if process is not None:
                table[process.pid] = process
    return table


def read_process(pid: int) -> Process | None:
    """One process from /proc, or None if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    if len(fields) < 20:
        return None
    return Process(pid, fields[0], int(fields[1]), int(fields[2]), int(fields[3]), int(fields[19]))


def child_pids(pid: object) -> list[int]:
    """The children of a process, by all of its threads."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += [int(child) for child in (task / "children").read_text().split()]
    return found
