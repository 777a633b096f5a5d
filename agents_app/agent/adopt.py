"""A command that outlived its agent, watched by the next one until it is over.

Its exit code goes to another parent and its output to a broken pipe, so its outcome stays unknown.
But it counts as running as long as it runs, and timeout, cancel and stop end it as they would have.
"""

from __future__ import annotations

import dataclasses
import threading
import time

from agents_app.agent.cgroup import CommandGroup
from agents_app.agent.messages import Command
from agents_app.agent.processes import Process
from agents_app.agent.records import Outcome
from agents_app.agent.supervise import CHECK_SECONDS, Ending, EndWish
from agents_app.agent.tree import ProcessTree
from agents_app.protocol import RESULT_INTERRUPTED, RESULT_TIMEOUT

# Nothing tells that a process ended that is no child.
LOOK_SECONDS = 0.5


class Adoption:
    """One such command. ``execute`` runs in a thread of its own."""

    def __init__(self, command: Command, root: Process, group: CommandGroup | None) -> None:
        """``root`` is its main process, ``group`` its cgroup if it has one."""
        self.command = command
        self._root = root
        self._tree = ProcessTree(root.pid, command.fence, group)
        self._wake = threading.Event()
        self._wish = EndWish(command.kill_grace_seconds)

    def request_end(self, status: str, *, grace_seconds: float | None = None) -> None:
        """Ask for the end of the tree, as ``Supervision.request_end`` does."""
        self._wish.add(status, grace_seconds)
        self._wake.set()

    def execute(self) -> Outcome:
        """See the command to its end."""
        outcome = Outcome(
            RESULT_INTERRUPTED,
            error_code="agent_restarted",
            error_message="The agent restarted while the command ran. It has ended since;"
            " its exit code and its output are not known.",
        )
        while self._root.still_runs():
            left = self.command.timeout_seconds - self._root.age_seconds()
            if self._wish.status or left <= 0:
                status = self._wish.status or RESULT_TIMEOUT
                ending = Ending(self.command, self._tree, status)
                while not ending.is_over(not self._root.still_runs(), self._wish.grace_seconds):
                    time.sleep(CHECK_SECONDS)
                outcome = ending.outcome(None)
                break
            self._wake.wait(min(left, LOOK_SECONDS))
        took_ms = int(self._root.age_seconds() * 1000)
        return dataclasses.replace(outcome, execution_time_ms=took_ms)
