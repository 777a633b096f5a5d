"""One run: the load goes on while the plan is carried out; then heal, wait for quiet, look."""

from __future__ import annotations

import heapq
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psycopg

from tests.chaos import verdict
from tests.chaos.faults import Breaker, NothingToBreak
from tests.chaos.ledger import Ledger
from tests.chaos.load import CLIENTS, LoadClient, Setting
from tests.chaos.plan import Fault
from tests.chaos.records import World, read_world, unanswered
from tests.chaos.world import MAX_RUNNING_TASKS, ChaosStack
from tests.e2e.stack import NODES
from tests.invariants import checks

# When it is due, whether it breaks (1) or mends (0, so that it comes first), a number, and the act.
Due = tuple[float, int, int, Callable[[], None]]

LOOK_SECONDS = 0.05
RESTART_SECONDS = 1.0
AUDIT_SECONDS = 10.0
# A row's own bound here is 10 s to run, 1 s to be killed, 5 s to be reported, 2 s of poll and the
# 10 s in which nobody is judged after a stall; and so many rows may wait before it on its host.
QUIET_SECONDS = 120.0
# True at every moment; how long rows are open can only be judged after an outage.
ALWAYS = {name: query for name, query in checks.CHECKS.items() if not name.startswith("5 ")}
# Late words settle what was lost, so at the end there is little to be seen of it.
_LOST = "SELECT id FROM commands_hosts WHERE status = 'lost'"
_OPEN = "SELECT count(*) FROM tasks WHERE status IN ('queued', 'running', 'paused')"


@dataclass
class Outcome:
    """What a run did and found."""

    ledger: Ledger
    done: Counter[tuple[str, str]] = field(default_factory=Counter)
    missed: Counter[tuple[str, str]] = field(default_factory=Counter)
    died: Counter[tuple[str, int]] = field(default_factory=Counter)
    audits: int = 0
    once_lost: set[int] = field(default_factory=set)
    quiet_seconds: float = 0.0
    world: World | None = None
    violations: list[str] = field(default_factory=list)


class Auditor(threading.Thread):
    """Makes the queries of the promises again and again while everything breaks."""

    def __init__(self, database_url: str, outcome: Outcome) -> None:
        super().__init__(name="auditor", daemon=True)
        self._url = database_url
        self._outcome = outcome
        self._end = threading.Event()

    def finish(self) -> None:
        """Stop soon."""
        self._end.set()

    def run(self) -> None:
        while not self._end.wait(AUDIT_SECONDS):
            try:
                found = checks.violations(
                    self._url, max_running_tasks=MAX_RUNNING_TASKS, checks=ALWAYS
                )
                with psycopg.connect(self._url) as connection:
                    self._outcome.once_lost |= {row[0] for row in connection.execute(_LOST)}
            except psycopg.OperationalError:
                continue  # the database is away, or a fault ended this connection
            self._outcome.audits += 1
            for text in found:
                self._outcome.ledger.violation(f"while it ran: {text}")


class Run:
    """Carries out a plan on a running stack. Use from the main thread only."""

    def __init__(self, stack: ChaosStack, *, plan: list[Fault], seconds: float, seed: int) -> None:
        """``seconds`` is how long things break."""
        self._stack = stack
        self._plan = plan
        self._seconds = seconds
        self._seed = seed
        self._breaker = Breaker(stack)
        self._began = 0.0
        self._agenda: list[Due] = []
        self.outcome = Outcome(Ledger())

    def run(self, *, marks: Path, run_name: str) -> Outcome:
        """Do all of it; what must not be is in the outcome."""
        clients = self._clients(marks, run_name)
        auditor = Auditor(self._stack.servers.database_url, self.outcome)
        for client in clients:
            client.start()
        auditor.start()
        try:
            self._follow_plan()
        finally:
            for client in clients:
                client.finish()
            self._heal()
            for client in clients:
                client.join()
        self._wait_for_quiet()
        auditor.finish()
        auditor.join()
        self._judge(marks)
        return self.outcome

    def _clients(self, marks: Path, run_name: str) -> list[LoadClient]:
        stack = self._stack
        setting = Setting(
            base_url=stack.addresses.web_url,
            token=stack.token,
            hosts=tuple(stack.host_id(node) for node in NODES),
            marks=marks,
            run=run_name,
            seed=self._seed,
        )
        return [LoadClient(number, setting, self.outcome.ledger) for number in range(CLIENTS)]

    # --- breaking and healing ------------------------------------------------------------------

    def _follow_plan(self) -> None:
        self._began = time.monotonic()
        for number, fault in enumerate(self._plan):
            due: Due = (fault.at_seconds, 1, number, partial(self._inflict, number, fault))
            heapq.heappush(self._agenda, due)
        restart_at = RESTART_SECONDS
        while (now := time.monotonic() - self._began) < self._seconds:
            while self._agenda and self._agenda[0][0] <= now:
                heapq.heappop(self._agenda)[3]()
            if now >= restart_at:
                restart_at = now + RESTART_SECONDS
                self._restart_dead()
            time.sleep(LOOK_SECONDS)

    def _inflict(self, number: int, fault: Fault) -> None:
        key = (fault.kind, fault.target)
        lasts = f"for {fault.lasts_seconds:g} s" if fault.lasts_seconds else ""
        try:
            undo = self._breaker.inflict(fault)
        except NothingToBreak:
            self.outcome.missed[key] += 1
            self._say(f"{fault.kind:<16} {fault.target:<20} (not there now)")
            return
        self.outcome.done[key] += 1
        self._say(f"{fault.kind:<16} {fault.target:<20} {lasts}")
        # By the plan's clock, not by ours: so it is over before the next fault on this target.
        over = fault.at_seconds + fault.lasts_seconds
        heapq.heappush(self._agenda, (over, 0, number, undo))

    def _restart_dead(self) -> None:
        for name, status in self._breaker.restart_dead():
            self.outcome.died[name, status] += 1
            self._say(f"{name} had ended with status {status} and is started again")

    def _heal(self) -> None:
        """Undo what is still broken, and start what is not there; nothing is repaired."""
        self._say("healing everything")
        undoing = sorted(item for item in self._agenda if item[1] == 0)
        self._agenda.clear()
        for _when, _order, _number, undo in undoing:
            undo()
        self._restart_dead()
        self._stack.wait_ready()
        self._restart_dead()
        self._stack.wait_online(*NODES)
        self._say("all processes are ready and all agents are online")

    def _say(self, text: str) -> None:
        at = time.monotonic() - self._began
        print(f"{time.strftime('%H:%M:%S')} {at:7.1f} s  {text}".rstrip(), flush=True)

    # --- looking -------------------------------------------------------------------------------

    def _wait_for_quiet(self) -> None:
        """Wait until nothing is open; what never ends is left for the verdict to name."""
        began = time.monotonic()
        while time.monotonic() - began < QUIET_SECONDS:
            with psycopg.connect(self._stack.servers.database_url) as connection:
                (still_open,) = connection.execute(_OPEN).fetchone() or (0,)
            if still_open == 0 and unanswered(self._stack.journals()) == 0:
                break
            time.sleep(LOOK_SECONDS * 10)
        self.outcome.quiet_seconds = time.monotonic() - began
        self._say(f"quiet after {self.outcome.quiet_seconds:.1f} s")

    def _judge(self, marks: Path) -> None:
        stack, outcome = self._stack, self.outcome
        url, journals = stack.servers.database_url, stack.journals()
        outcome.world = read_world(url, marks, journals)
        broken = checks.violations(url, journals, max_running_tasks=MAX_RUNNING_TASKS)
        outcome.audits += 1
        outcome.violations = [f"promise {text}" for text in broken]
        outcome.violations += verdict.violations(outcome.world, outcome.ledger, stack.logs)
        if left := unanswered(journals):
            outcome.violations.append(f"agents hold {left} fences without an answer")
