"""Which accepted commands run, which wait for a slot, and what becomes of them."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
import threading
from collections.abc import Callable, Collection

from agents_app.agent import faults
from agents_app.agent.adopt import Adoption
from agents_app.agent.journal import Journal, JournalError
from agents_app.agent.live import LiveFeed
from agents_app.agent.messages import Command, parse_command
from agents_app.agent.records import Outcome, build_record
from agents_app.agent.spawn import Spawner
from agents_app.agent.supervise import Supervision, never_started
from agents_app.protocol import (
    HELD_ACCEPTED,
    HELD_RUNNING,
    RESULT_CANCELED,
    RESULT_FAILED,
    RESULT_INTERRUPTED,
)

log = logging.getLogger(__name__)

# How long a poll's answer waits for its commands to be started before the next poll goes out.
START_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class Limits:
    """What this agent allows, whatever the server asks for. ``slots`` 0: the server decides."""

    slots: int
    output_bytes: int


class Executor:
    """Runs each command in a thread of its own. All methods may be called from any thread."""

    def __init__(
        self,
        *,
        journal: Journal,
        spawner: Spawner,
        feed: LiveFeed,
        limits: Limits,
        boot_id: str,
        wake_reporter: Callable[[], None],
    ) -> None:
        """Runs nothing until ``recover`` and ``accept`` are called."""
        self._journal = journal
        self._spawner = spawner
        self._feed = feed
        self._limits = limits
        self._boot_id = boot_id
        self._wake_reporter = wake_reporter
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._waiting: dict[str, Command] = {}
        self._recovered: dict[str, Command] = {}
        self._running: dict[str, Supervision | Adoption] = {}
        self._stopping = False

    def recover(self) -> None:
        """Account for what an earlier start of the agent left in the journal. Call once, first.

        What was started and runs is watched, and interrupted when it ends; what is gone is
        interrupted; what was not started may start after the next good poll.
        """
        for fence, text, boot_id in self._journal.left_over(HELD_RUNNING):
            adoption = self._adoption(fence, text, boot_id)
            if adoption is not None:
                self._running[fence] = adoption
                self._start_thread(fence, functools.partial(self._see_out, adoption))
            else:
                self._finish(fence, build_record(fence, self._interrupted(fence, boot_id)))
        self._spawner.forget_all_but(self._running)
        for fence, text, _ in self._journal.left_over(HELD_ACCEPTED):
            self._recovered[fence] = _command(fence, text)

    @property
    def has_recovered(self) -> bool:
        """Whether commands wait for the first good poll after a restart."""
        return bool(self._recovered)

    def name_host(self, hostname: str) -> None:
        """Call this host so from the next command on."""
        self._spawner.hostname = hostname

    def running_count(self) -> int:
        """How many commands run now."""
        return len(self._running)

    def accept(self, commands: Collection[Command], cancel: Collection[str]) -> None:
        """Apply a poll's answer: cancel, journal, start. Returns when what could start has.

        Raises JournalError if the deliveries could not be journaled; then none of them runs.
        """
        for fence in cancel:
            self.cancel(fence)
        with self._lock:
            left_over = list(self._recovered.values())
            self._recovered.clear()
        started = self._take_in(left_over)
        new = self._journal.accept(commands, self._boot_id)
        if new:
            faults.exit_at("after_journal_before_start")
        for command in new:
            if command.fence in cancel:
                self._finish(command.fence, _never(command.fence, RESULT_CANCELED))
        started += self._take_in([c for c in new if c.fence not in cancel])
        for supervision in started:
            supervision.on_started.wait(START_SECONDS)
        if started:
            faults.exit_at("after_start_before_ack")
        self._wake_reporter()
        self._spawner.tidy()

    def cancel(self, fence: str) -> None:
        """End the command if it runs, see that it never starts if it waits, else do nothing."""
        with self._lock:
            supervision = self._running.get(fence)
            waited = self._waiting.pop(fence, None) or self._recovered.pop(fence, None)
        if supervision is not None:
            supervision.request_end(RESULT_CANCELED)
        elif waited is not None:
            self._finish(fence, _never(fence, RESULT_CANCELED))

    def stop(self, grace_seconds: float) -> None:
        """End what runs, as interrupted; what waits stays accepted. Returns when all is journaled
        or takes much longer than the grace.
        """
        with self._lock:
            self._stopping = True
            running = list(self._running.values())
        for supervision in running:
            supervision.request_end(RESULT_INTERRUPTED, grace_seconds=grace_seconds)
        with self._idle:
            self._idle.wait_for(lambda: not self._running, timeout=grace_seconds + 8.0)

    def _take_in(self, commands: Collection[Command]) -> list[Supervision]:
        with self._lock:
            self._waiting.update((command.fence, command) for command in commands)
        return self._start_waiting()

    def _start_waiting(self) -> list[Supervision]:
        """Start waiting commands, oldest first, while the agent's own limit allows."""
        started: list[Supervision] = []
        while True:
            with self._lock:
                full = self._limits.slots and len(self._running) >= self._limits.slots
                if self._stopping or full or not self._waiting:
                    return started
                fence = next(iter(self._waiting))
                command = self._waiting.pop(fence)
                cap = min(command.output_cap_bytes, self._limits.output_bytes)
                supervision = Supervision(command, self._spawner, cap)
                supervision.on_output = self._output_came
                self._running[fence] = supervision
            self._start_thread(fence, functools.partial(self._run, supervision))
            started.append(supervision)

    def _run(self, supervision: Supervision) -> None:
        fence = supervision.command.fence
        try:
            outcome = self._outcome(supervision)
        except Exception:
            # Whatever goes wrong in the agent, the command must end with an answer.
            log.exception("running %s failed in the agent", fence)
            outcome = Outcome(
                RESULT_FAILED,
                error_code="agent_error",
                error_message="The agent failed while it ran the command; its log says why.",
            )
        finally:
            supervision.on_started.set()
            self._feed.remove(fence)
        captures = supervision.captures
        self._end(fence, build_record(fence, outcome, captures["stdout"], captures["stderr"]))

    def _see_out(self, adoption: Adoption) -> None:
        fence = adoption.command.fence
        log.info("%s still runs; it is watched until it ends", fence)
        try:
            outcome = adoption.execute()
        except Exception:
            # Whatever goes wrong in the agent, the command must end with an answer.
            log.exception("watching %s failed in the agent", fence)
            outcome = self._interrupted(fence, self._boot_id)
        self._spawner.forget(fence)
        self._end(fence, build_record(fence, outcome))

    def _end(self, fence: str, record: str) -> None:
        self._finish(fence, record)
        with self._idle:
            del self._running[fence]
            self._idle.notify_all()
        self._start_waiting()
        self._spawner.tidy()

    def _outcome(self, supervision: Supervision) -> Outcome:
        fence = supervision.command.fence
        try:
            self._journal.mark_started(fence, self._boot_id)
        except JournalError:
            return Outcome(
                RESULT_FAILED,
                error_code="journal_failed",
                error_message="It was not started: the agent's journal could not be written.",
            )
        faults.exit_at("after_mark_before_start")
        self._feed.add(fence, supervision.captures)
        log.info("running %s", fence)
        outcome = supervision.execute()
        log.info("%s is %s after %d ms", fence, outcome.status, outcome.execution_time_ms)
        return outcome

    def _start_thread(self, fence: str, target: Callable[[], None]) -> None:
        threading.Thread(target=target, name=f"run-{fence[:8]}", daemon=True).start()

    def _adoption(self, fence: str, text: str, boot_then: str) -> Adoption | None:
        """What watches a command that outlived the agent; None if its main process is gone."""
        if boot_then != self._boot_id:
            return None
        root = self._spawner.survivor(fence)
        if root is None:
            return None
        return Adoption(_command(fence, text), root, self._spawner.group_of(fence))

    def _interrupted(self, fence: str, boot_then: str) -> Outcome:
        """What can honestly be said of a command that ran when the agent ended, and is over."""
        if boot_then and self._boot_id and boot_then != self._boot_id:
            return Outcome(
                RESULT_INTERRUPTED,
                error_code="host_restarted",
                error_message="The host restarted while the command ran.",
            )
        message = "The agent restarted; the command was gone."
        pids = self._spawner.pids_of(fence)
        if pids:
            listed = ", ".join(str(pid) for pid in pids[:20])
            message = f"The agent restarted; what is left of the command runs on: pid {listed}."
        return Outcome(RESULT_INTERRUPTED, error_code="agent_restarted", error_message=message)

    def _finish(self, fence: str, record: str) -> None:
        self._journal.finish(fence, record)
        faults.exit_at("after_result_journaled")
        self._wake_reporter()

    def _output_came(self) -> None:
        if self._feed.output_came():
            self._wake_reporter()


def _command(fence: str, text: str) -> Command:
    """A command as the journal keeps it."""
    return parse_command({**json.loads(text), "fence": fence})


def _never(fence: str, status: str) -> str:
    return build_record(fence, never_started(status))
