"""A small world for tests of the queue: hosts, started tasks, polls and results without HTTP."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass, field
from typing import Any

from devops_manager.access.actors import SYSTEM
from hosts_app.models import Host
from hosts_app.states import HostStatus
from tasks_app.models import Command, CommandHost, Task
from tasks_app.records import Answer, Delivery, Held, Poll, Result, StreamOutput
from tasks_app.services import dispatch, fan_out, lifecycle


def make_hosts(count: int, **fields: Any) -> list[Host]:
    """Create active hosts; the earlier ones have the smaller primary keys."""
    return [
        Host.objects.create(hostname=f"host-{no}", status=HostStatus.ACTIVE, **fields)
        for no in range(1, count + 1)
    ]


def make_task(hosts: list[Host], steps: int = 1, **fields: Any) -> Task:
    """Create a pending task with ``steps`` commands for exactly these hosts."""
    commands = fields.pop("commands", [{"body": "true"}] * steps)
    target = {"hosts": [str(host.host_id) for host in hosts]}
    task = Task.objects.create(name="a task", target=target, **fields)
    for position, command in enumerate(commands, 1):
        Command.objects.create(task=task, position=position, **command)
    return task


def start(task: Task) -> Task:
    """Start a task and make its rows."""
    started = lifecycle.start_task(actor=SYSTEM, task_id=task.task_id)
    fan_out.fan_out_task(task.pk)
    started.refresh_from_db()
    return started


def task_whose_host_is_gone_by_its_turn() -> tuple[Task, Host]:
    """Make a task that may start now, and whose host was disabled while it waited.

    For tests in which one task may run at once.
    """
    one, two = make_hosts(2)
    first, second = started_task([one]), make_task([two])
    lifecycle.start_task(actor=SYSTEM, task_id=second.task_id)
    Host.objects.filter(pk=two.pk).update(status=HostStatus.DISABLED)
    lifecycle.cancel_task(actor=SYSTEM, task_id=first.task_id)
    return second, two


def started_task(hosts: list[Host], steps: int = 1, **fields: Any) -> Task:
    """Create and start a task."""
    return start(make_task(hosts, steps, **fields))


@dataclass
class FakeAgent:
    """Speaks for one host, as an agent with a journal in memory would."""

    host: Host
    journal_id: uuid.UUID = field(default_factory=uuid.uuid4)
    run: int = 1
    instance_id: uuid.UUID = field(default_factory=uuid.uuid4)
    seq: int = 0
    holding: dict[uuid.UUID, bool] = field(default_factory=dict)
    slots: int | None = None
    started: list[uuid.UUID] = field(default_factory=list)

    def restart(self) -> None:
        """Begin a new run of the same journal."""
        self.run += 1
        self.seq = 0
        self.instance_id = uuid.uuid4()

    def next_poll(self) -> Poll:
        """Make the next poll."""
        self.seq += 1
        return self.current_poll(first=True)

    def current_poll(self, *, first: bool) -> Poll:
        """Make a look-up of the poll that is open."""
        return Poll(
            host=self.host.pk,
            generation=self.host.credential_generation,
            journal_id=self.journal_id,
            run=self.run,
            seq=self.seq,
            instance_id=self.instance_id,
            holding=tuple(Held(fence, finished) for fence, finished in self.holding.items()),
            first=first,
            slots=self.slots,
        )

    def poll(self, *, deliver: bool = True) -> Answer:
        """Poll once; with ``deliver`` False the answer is lost on the way."""
        return self.take(dispatch.look_up([self.next_poll()])[self.host.pk], deliver=deliver)

    def take(self, answer: Answer, *, deliver: bool = True) -> Answer:
        """Journal what an answer brings, unless it is lost."""
        for command in answer.commands if deliver else ():
            self.started.append(command.fence)
            self.holding[command.fence] = False
        return answer

    def report(self, fence: uuid.UUID, status: str = "completed", **fields: Any) -> str:
        """Report one result and return the verdict."""
        outcome = dispatch.report([result(self.host, fence, status, **fields)])
        (verdict,) = outcome.verdicts
        if verdict.verdict != "refused":
            self.holding.pop(fence, None)
        return verdict.verdict.value


def result(host: Host, fence: uuid.UUID, status: str = "completed", **fields: Any) -> Result:
    """Make one result; the digest follows from what it says."""
    exit_codes = {"completed": 0, "failed": 1}
    values: dict[str, Any] = {
        "exit_code": exit_codes.get(status),
        "error_code": "",
        "error_message": "",
        "execution_time_ms": 5,
        "output_digest": hashlib.sha256(b"").digest(),
        "stdout": StreamOutput(b"out\n"),
        "stderr": StreamOutput(),
        **fields,
    }
    digest = hashlib.sha256(repr((fence, status, values)).encode()).digest()
    return Result(
        host=host.pk,
        generation=host.credential_generation,
        fence=fence,
        status=status,
        digest=digest,
        **values,
    )


def rows(task: Task) -> list[tuple[int, int, str]]:
    """Return (host, step, state) of a task's rows, in that order."""
    found = CommandHost.objects.filter(task=task).order_by("host_id", "position")
    return list(found.values_list("host_id", "position", "status"))


def states(task: Task) -> list[str]:
    """Return the states of a task's rows by host and step."""
    return [state for _, _, state in rows(task)]


def only(answer: Answer) -> Delivery:
    """Return the one command that an answer delivers."""
    (command,) = answer.commands
    return command


def outcomes(task: Task) -> dict[str, int]:
    """Return how many hosts of a task came to each outcome, without the zeros; reads it anew."""
    task.refresh_from_db()
    names = ("completed", "failed", "lost", "canceled", "skipped")
    counted = {name: getattr(task, f"{name}_hosts") for name in names}
    return {name: count for name, count in counted.items() if count}
