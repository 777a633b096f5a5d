"""What is handed out: the commands themselves, kept in process, for they do not change any more."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from tasks_app.queue.statements import run
from tasks_app.records import DeliveredCommand, Delivery

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

_KEPT = 256  # commands of at most 64 KiB each
_commands: OrderedDict[UUID, DeliveredCommand] = OrderedDict()


def deliveries_of(rows: Sequence[Any]) -> list[Delivery]:
    """Return a delivery for each claimed row, in their order.

    A row has ``command_id`` (primary key), ``command_uuid``, ``fence`` and ``attempt``. A command
    cannot be edited once its task was started, so what was read once is kept, by its public id: a
    restored backup may give a primary key to another command.
    """
    commands = {}
    missing = set()
    for row in rows:
        command = _commands.get(row.command_uuid)
        if command is None:
            missing.add(row.command_id)
        else:
            commands[row.command_uuid] = command
    if missing:
        for command in run("deliveries", commands=sorted(missing)):
            commands[command.command_id] = _commands[command.command_id] = _command(command)
        while len(_commands) > _KEPT:
            _commands.popitem(last=False)
    return [
        Delivery(fence=row.fence, attempt=row.attempt, command=commands[row.command_uuid])
        for row in rows
    ]


def _command(row: Any) -> DeliveredCommand:
    return DeliveredCommand(
        task_id=row.task_id,
        command_id=row.command_id,
        name=row.name,
        position=row.position,
        kind=row.kind,
        body=row.body,
        interpreter=row.interpreter,
        parameters=json.loads(row.parameters),
        environment=json.loads(row.environment),
        working_directory=row.working_directory,
        run_as=row.run_as,
        timeout_seconds=row.timeout_seconds,
    )
