"""Task drafts: what a caller asks for, checked strictly, for the API and the pages alike.

Every mistake is collected and named by its full path; nothing here touches the database.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext as _

from devops_manager.lib.errors import InvalidInput, is_full
from devops_manager.lib.parsers import join_path
from hosts_app.targets import Target, parse_target, to_json
from tasks_app.models import CommandKind, OfflinePolicy, OnFailure
from tasks_app.script_text import Warned, clean_body, step_warnings
from tasks_app.selectors.environment import HIDDEN
from tasks_app.services.fields import Fields
from tasks_app.states import Priority

if TYPE_CHECKING:
    from collections.abc import Sequence

NAME_CHARACTERS = 200
DESCRIPTION_CHARACTERS = 10_000
BODY_BYTES = 65_536
INTERPRETER_CHARACTERS = 200
WORKING_DIRECTORY_CHARACTERS = 1000
RUN_AS_CHARACTERS = 64
PARAMETERS_MAX = 100
PARAMETER_BYTES = 8192
ENVIRONMENT_MAX = 100
ENVIRONMENT_VALUE_BYTES = 32_768
# What execve takes for parameters and environment together is 2 MiB on most hosts; stay far below.
ARGUMENTS_BYTES = 262_144
TIMEOUT_SECONDS_MAX = 604_800
DELIVERY_SECONDS_MAX = 2_592_000
BULK_MAX = 500

TASK_FIELDS = (
    "name",
    "description",
    "priority",
    "target",
    "offline_policy",
    "delivery_seconds",
    "commands",
)
COMMAND_FIELDS = (
    "name",
    "kind",
    "body",
    "interpreter",
    "parameters",
    "environment",
    "working_directory",
    "run_as",
    "timeout_seconds",
    "on_failure",
    "host",
)
_PRIORITIES = {priority.name.lower(): priority for priority in Priority}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
# A name, a uid, user@domain, DOM\user, host$: what it means is the host's name service to say.
RUN_AS_PATTERN = r"\w[\w.@\\+$-]*"
_ACCOUNT = re.compile(RUN_AS_PATTERN)


@dataclass(frozen=True, slots=True)
class CommandDraft:
    """One step as asked for; ``host`` is the only host that it is for, or None for every target."""

    body: str
    timeout_seconds: int
    name: str = ""
    kind: str = CommandKind.COMMAND.value
    interpreter: str = ""
    parameters: tuple[str, ...] = ()
    environment: Mapping[str, str] | None = None
    working_directory: str = ""
    run_as: str = ""
    on_failure: str = OnFailure.STOP.value
    host: UUID | None = None


@dataclass(frozen=True, slots=True)
class TaskDraft:
    """One task as asked for: well-formed, but its hosts not yet looked up."""

    name: str
    target: Target
    commands: tuple[CommandDraft, ...]
    delivery_seconds: int
    description: str = ""
    priority: int = Priority.NORMAL.value
    offline_policy: str = OfflinePolicy.WAIT.value


def parse_task(value: object) -> TaskDraft:
    """Return the draft that a JSON object describes.

    Raises InvalidInput with every mistake under its full path: wrong types, unknown and missing
    fields, values out of range, NUL characters.
    """
    errors: dict[str, list[str]] = {}
    draft = _task(value, "", errors)
    if draft is None or errors:
        raise _invalid(errors)
    return draft


def parse_tasks(value: object) -> list[TaskDraft]:
    """Return the drafts of ``{"tasks": [...]}``, 1 to 500; a mistake is under ``tasks[n]``.

    Raises InvalidInput as ``parse_task`` does.
    """
    errors: dict[str, list[str]] = {}
    fields = Fields(value, "", ("tasks",), errors)
    drafts: list[TaskDraft | None] = []
    for at, item in enumerate(fields.items("tasks", low=1, high=BULK_MAX)):
        drafts.append(_task(item, join_path("tasks", at), errors))
        if is_full(errors):
            break
    if errors:
        raise _invalid(errors)
    return [draft for draft in drafts if draft is not None]


def parse_changes(value: object, *, current: Mapping[str, Any]) -> TaskDraft:
    """Return ``current`` (a draft as JSON) with the fields of ``value`` put over it.

    A given ``target`` or ``commands`` replaces the old one as a whole. Raises InvalidInput as
    ``parse_task`` does, and for a change without any field.
    """
    if not isinstance(value, dict):
        return parse_task(value)
    if not value:
        raise _invalid({"body": [_("Name at least one field to change.")]})
    return parse_task({**current, **value})


def draft_warnings(*, draft: TaskDraft, path: str = "") -> list[Warned]:
    """Return what is well-formed and likely not meant in a draft, by full path."""
    return [
        warned
        for at, command in enumerate(draft.commands)
        for warned in step_warnings(
            path=join_path(join_path(path, "commands"), at),
            kind=command.kind,
            interpreter=command.interpreter,
            body=command.body,
        )
    ]


def draft_as_json(draft: TaskDraft) -> dict[str, Any]:
    """Return the JSON that ``parse_task`` reads as this draft."""
    return {
        "name": draft.name,
        "description": draft.description,
        "priority": draft.priority,
        "target": to_json(draft.target),
        "offline_policy": draft.offline_policy,
        "delivery_seconds": draft.delivery_seconds,
        "commands": [
            {
                "name": command.name,
                "kind": command.kind,
                "body": command.body,
                "interpreter": command.interpreter,
                "parameters": list(command.parameters),
                "environment": dict(command.environment or {}),
                "working_directory": command.working_directory,
                "run_as": command.run_as,
                "timeout_seconds": command.timeout_seconds,
                "on_failure": command.on_failure,
                "host": str(command.host) if command.host else None,
            }
            for command in draft.commands
        ],
    }


def _invalid(errors: Mapping[str, Sequence[str]]) -> InvalidInput:
    return InvalidInput(_("The task is not valid."), fields=errors)


def _task(value: object, path: str, errors: dict[str, list[str]]) -> TaskDraft | None:
    before = len(errors)
    fields = Fields(value, path, TASK_FIELDS, errors)
    name = fields.text(
        "name", characters=NAME_CHARACTERS, required=True, one_line=True, clean=str.strip
    )
    description = fields.text("description", characters=DESCRIPTION_CHARACTERS)
    priority = _priority(fields)
    target = _target(fields)
    policy = fields.choice("offline_policy", OfflinePolicy.values, OfflinePolicy.WAIT.value)
    delivery = fields.whole(
        "delivery_seconds",
        default=int(settings.DM_DELIVERY_SECONDS),
        low=1,
        high=DELIVERY_SECONDS_MAX,
    )
    commands = [
        _command(item, join_path(fields.path_of("commands"), at), errors)
        for at, item in enumerate(
            fields.items("commands", low=1, high=settings.DM_MAX_COMMANDS_PER_TASK)
        )
    ]
    if len(errors) > before or target is None:
        return None
    return TaskDraft(
        name=name,
        description=description,
        priority=priority,
        target=target,
        offline_policy=policy,
        delivery_seconds=delivery,
        commands=tuple(command for command in commands if command is not None),
    )


def _priority(fields: Fields) -> int:
    """Return a priority given by name or by number."""
    value = fields.get("priority")
    if value is None:
        return Priority.NORMAL.value
    if isinstance(value, str) and value in _PRIORITIES:
        return _PRIORITIES[value].value
    if isinstance(value, int) and not isinstance(value, bool) and value in Priority.values:
        return value
    fields.refuse(
        "priority",
        _("Must be one of %(choices)s, or 1 to 4.") % {"choices": ", ".join(_PRIORITIES)},
    )
    return Priority.NORMAL.value


def _target(fields: Fields) -> Target | None:
    if not fields.is_object:
        return None
    if not fields.given("target"):
        fields.refuse("target", _("This field is required."))
        return None
    try:
        return parse_target(fields.get("target"))
    except InvalidInput as error:
        for name, sentences in error.fields.items():
            for sentence in sentences:
                fields.refuse(name, str(sentence))
        return None


def _command(value: object, path: str, errors: dict[str, list[str]]) -> CommandDraft | None:
    before = len(errors)
    fields = Fields(value, path, COMMAND_FIELDS, errors)
    kind = fields.choice("kind", CommandKind.values, CommandKind.COMMAND.value)
    interpreter = _interpreter(fields, kind)
    draft = CommandDraft(
        name=fields.text("name", characters=NAME_CHARACTERS, one_line=True, clean=str.strip),
        kind=kind,
        body=fields.text(
            "body",
            size_bytes=BODY_BYTES,
            required=True,
            clean=partial(clean_body, kind=kind, interpreter=interpreter),
        ),
        interpreter=interpreter,
        parameters=_parameters(fields),
        environment=_environment(fields),
        working_directory=_working_directory(fields),
        run_as=_run_as(fields),
        timeout_seconds=fields.whole(
            "timeout_seconds",
            default=settings.DM_DEFAULT_TIMEOUT_SECONDS,
            low=1,
            high=TIMEOUT_SECONDS_MAX,
        ),
        on_failure=fields.choice("on_failure", OnFailure.values, OnFailure.STOP.value),
        host=fields.uuid("host"),
    )
    return draft if len(errors) == before else None


def _interpreter(fields: Fields, kind: str) -> str:
    interpreter = fields.text("interpreter", characters=INTERPRETER_CHARACTERS, one_line=True)
    if interpreter and kind != CommandKind.SCRIPT:
        fields.refuse(
            "interpreter",
            _("Only a script has an interpreter; a command line is run by /bin/sh."),
        )
    return interpreter


def _working_directory(fields: Fields) -> str:
    directory = fields.text(
        "working_directory", characters=WORKING_DIRECTORY_CHARACTERS, one_line=True
    )
    if directory and not directory.startswith("/"):
        fields.refuse("working_directory", _("Must begin with /."))
    return directory


def _run_as(fields: Fields) -> str:
    account = fields.text("run_as", characters=RUN_AS_CHARACTERS, one_line=True)
    if account and not _ACCOUNT.fullmatch(account):
        fields.refuse("run_as", _("This is not the name of an account."))
    return account


def _parameters(fields: Fields) -> tuple[str, ...]:
    given = fields.items("parameters", low=0, high=PARAMETERS_MAX, required=False)
    parameters = [
        fields.checked_text(item, join_path(fields.path_of("parameters"), at), PARAMETER_BYTES)
        for at, item in enumerate(given)
    ]
    if sum(len(parameter.encode()) for parameter in parameters) > ARGUMENTS_BYTES:
        fields.refuse("parameters", _too_long_together())
    return tuple(parameters)


def _environment(fields: Fields) -> Mapping[str, str] | None:
    value = fields.get("environment")
    if not value and (value is None or isinstance(value, dict)):
        return None
    if not isinstance(value, dict):
        fields.refuse("environment", _("Must be an object of names and texts."))
        return None
    if len(value) > ENVIRONMENT_MAX:
        fields.refuse("environment", _("At most %(high)d entries.") % {"high": ENVIRONMENT_MAX})
        return None
    environment: dict[str, str] = {}
    total = 0
    for name, item in value.items():
        path = join_path(fields.path_of("environment"), name[:128])
        if not _VARIABLE.fullmatch(name):
            fields.add(path, _("This is not the name of an environment variable."))
        environment[name] = fields.checked_text(item, path, ENVIRONMENT_VALUE_BYTES)
        if item == HIDDEN:
            fields.add(path, _("*** stands for a value that is hidden; write the value."))
        total += len(name) + len(environment[name].encode())
    if total > ARGUMENTS_BYTES:
        fields.refuse("environment", _too_long_together())
    return environment


def _too_long_together() -> str:
    return _("Together longer than %(high)d bytes.") % {"high": ARGUMENTS_BYTES}
