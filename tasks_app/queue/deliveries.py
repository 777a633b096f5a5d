"""What is handed out: the commands themselves, kept in process, for they do not change any more."""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from tasks_app.queue.statements import run
from tasks_app.records import Delivery

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

_KEPT = 256  # commands of at most 64 KiB each
_commands: OrderedDict[UUID, Any] = OrderedDict()


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
            commands[command.command_id] = _commands[command.command_id] = command
        while len(_commands) > _KEPT:
            _commands.popitem(last=False)
    return [_delivery(row, commands[row.command_uuid]) for row in rows]


def _delivery(row: Any, command: Any) -> Delivery:
    return Delivery(
        fence=row.fence,
        attempt=row.attempt,
        task_id=command.task_id,
        command_id=command.command_id,
        name=command.name,
        position=command.position,
        kind=command.kind,
        body=command.body,
        interpreter=command.interpreter,
        parameters=json.loads(command.parameters),
        environment=json.loads(command.environment),
        working_directory=command.working_directory,
        run_as=command.run_as,
        timeout_seconds=command.timeout_seconds,
    )
