"""Describes the tasks API for OpenAPI: bodies by hand, answers from the shapes of the selectors."""

from __future__ import annotations

import dataclasses
import types
import typing
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import TextChoices
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema_field, extend_schema_serializer
from rest_framework import serializers

from devops_manager.lib.decoding import CHARSETS
from devops_manager.lib.one_line import FORGING, NAME, ONE_LINE
from hosts_app.targets import MAX_HOSTS, MAX_NAMES
from tasks_app.models import CommandKind, OfflinePolicy, OnFailure
from tasks_app.selectors.outputs import ENCODINGS, STREAMS
from tasks_app.services import drafts
from tasks_app.states import Outcome, RowStatus, TaskStatus

LIMIT_BYTES_LOW = 64
LIMIT_BYTES_HIGH = 1_048_576
NO_NUL = r"^[^\x00]*$"
FILLED = r"^[^\x00]*[^\x00\s][^\x00]*$"

_PLAIN: dict[Any, type[serializers.Field[Any, Any, Any, Any]]] = {
    str: serializers.CharField,
    int: serializers.IntegerField,
    float: serializers.FloatField,
    bool: serializers.BooleanField,
    UUID: serializers.UUIDField,
    datetime: serializers.DateTimeField,
}


@cache
def answer_of(shape: Any, name: str = "") -> type[serializers.Serializer[Any]]:
    """Return a serializer that describes a dataclass (``Page[TaskSummary]`` too) for the schema."""
    origin = typing.get_origin(shape) or shape
    arguments = typing.get_args(shape)
    hints = typing.get_type_hints(origin)
    fields: dict[str, Any] = {
        field.name: _field(_filled(hints[field.name], arguments))
        for field in dataclasses.fields(origin)
    }
    title = name or "".join(part.__name__ for part in (*arguments, origin))
    fields["__doc__"] = (origin.__doc__ or "").split("\n", 1)[0]
    described = type(f"{title}Serializer", (serializers.Serializer,), fields)
    # A page is one object, whatever the view's action is called.
    return extend_schema_serializer(many=False)(described) if arguments else described


def _filled(hint: Any, arguments: tuple[Any, ...]) -> Any:
    """Put a generic dataclass's argument in the place of its type variable."""
    if typing.get_origin(hint) is list and isinstance(typing.get_args(hint)[0], typing.TypeVar):
        return list[arguments[0]]  # type: ignore[valid-type]
    return hint


def _field(hint: Any) -> serializers.Field[Any, Any, Any, Any]:
    options: dict[str, Any] = {}
    if isinstance(hint, types.UnionType):
        hint = next(part for part in typing.get_args(hint) if part is not types.NoneType)
        options["allow_null"] = True
    origin = typing.get_origin(hint)
    if origin is list:
        item = typing.get_args(hint)[0]
        if dataclasses.is_dataclass(item):
            return answer_of(typing.cast("Any", item))(many=True, **options)
        return serializers.ListField(child=_field(item), **options)
    if origin is dict:
        value = typing.get_args(hint)[1]
        child = None if value is Any else _field(value)
        return (
            serializers.DictField(child=child, **options)
            if child
            else (serializers.JSONField(**options))
        )
    if dataclasses.is_dataclass(hint):
        return answer_of(typing.cast("Any", hint))(**options)
    if issubclass(hint, TextChoices):
        return serializers.ChoiceField(choices=hint.choices, **options)
    return _PLAIN[hint](**options)


def _described(described: dict[str, Any], **options: Any) -> serializers.Field[Any, Any, Any, Any]:
    """Return a field that is described so. (A copy is made of it: the class keeps what is said.)"""
    kind = type("DescribedField", (serializers.JSONField,), {})
    field: serializers.Field[Any, Any, Any, Any] = extend_schema_field(described)(kind)(**options)
    return field


def _text(
    pattern: str = NO_NUL, *, characters: int | None = None, **options: Any
) -> serializers.Field[Any, Any, Any, Any]:
    described: dict[str, Any] = {"type": "string", "pattern": pattern}
    if characters is not None:
        described["maxLength"] = characters
    return _described(described, **options)


class SelectionBody(serializers.Serializer[Any]):
    """Hosts by id, by the names of their groups, by tag; together, not in common."""

    hosts = serializers.ListField(
        child=serializers.UUIDField(), required=False, max_length=MAX_HOSTS
    )
    groups = serializers.ListField(child=_text(FILLED), required=False, max_length=MAX_NAMES)
    tags = serializers.ListField(child=_text(FILLED), required=False, max_length=MAX_NAMES)


class TargetBody(SelectionBody):
    """Which hosts a task is for."""

    all = serializers.BooleanField(required=False, help_text="Every host within reach.")
    exclude = SelectionBody(required=False)


_ENVIRONMENT = {
    "type": "object",
    "maxProperties": drafts.ENVIRONMENT_MAX,
    "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]{0,127}$"},
    "additionalProperties": {
        "type": "string",
        "pattern": NO_NUL,
        "maxLength": drafts.ENVIRONMENT_VALUE_BYTES,
    },
}


class CommandBody(serializers.Serializer[Any]):
    """One step. See docs/tasks.md. Only a script has an interpreter."""

    name = _text(ONE_LINE, characters=drafts.NAME_CHARACTERS, required=False)
    kind = serializers.ChoiceField(
        choices=CommandKind.choices, default=CommandKind.COMMAND, required=False
    )
    body = _text(
        FILLED, characters=drafts.BODY_BYTES, help_text=f"1 to {drafts.BODY_BYTES} bytes of UTF-8."
    )
    interpreter = _text(ONE_LINE, characters=drafts.INTERPRETER_CHARACTERS, required=False)
    parameters = serializers.ListField(
        child=_text(characters=drafts.PARAMETER_BYTES),
        max_length=drafts.PARAMETERS_MAX,
        required=False,
    )
    environment = _described(_ENVIRONMENT, required=False)
    working_directory = _text(
        f"^(/[^{FORGING}]*)?$", characters=drafts.WORKING_DIRECTORY_CHARACTERS, required=False
    )
    run_as = _text(
        f"^({drafts.RUN_AS_PATTERN})?$", characters=drafts.RUN_AS_CHARACTERS, required=False
    )
    timeout_seconds = serializers.IntegerField(
        min_value=1, max_value=drafts.TIMEOUT_SECONDS_MAX, required=False
    )
    on_failure = serializers.ChoiceField(
        choices=OnFailure.choices, default=OnFailure.STOP, required=False
    )
    host = serializers.UUIDField(
        required=False, allow_null=True, help_text="Only on this host; it joins the targets."
    )


def only_scripts_have_interpreters(result: dict[str, Any], **_kwargs: object) -> dict[str, Any]:
    """Say in the description what no field can say of another."""
    command = result["components"]["schemas"].get("CommandBodyRequest")
    if command is not None:
        command["anyOf"] = [
            {"properties": {"interpreter": {"maxLength": 0}}},
            {"properties": {"kind": {"const": CommandKind.SCRIPT.value}}, "required": ["kind"]},
        ]
    changes = result["components"]["schemas"].get("PatchedTaskChangesRequest")
    if changes is not None:
        changes["minProperties"] = 1
    return result


_commands = serializers.ListField(
    child=CommandBody(), min_length=1, max_length=settings.DM_MAX_COMMANDS_PER_TASK
)


class TaskBody(serializers.Serializer[Any]):
    """A task as it is asked for. See docs/tasks.md."""

    name = _text(NAME, characters=drafts.NAME_CHARACTERS)
    description = _text(characters=drafts.DESCRIPTION_CHARACTERS, required=False)
    priority = serializers.ChoiceField(
        choices=["low", "normal", "high", "urgent"],
        default="normal",
        required=False,
        help_text="Or 1 to 4.",
    )
    target = TargetBody()
    offline_policy = serializers.ChoiceField(
        choices=OfflinePolicy.choices, default=OfflinePolicy.WAIT, required=False
    )
    delivery_seconds = serializers.IntegerField(
        min_value=1, max_value=drafts.DELIVERY_SECONDS_MAX, required=False
    )
    commands = _commands


class TaskChanges(TaskBody):
    """The fields to change; ``target`` and ``commands`` replace the old ones as a whole."""

    name = _text(NAME, characters=drafts.NAME_CHARACTERS, required=False)
    target = TargetBody(required=False)
    commands = serializers.ListField(
        child=CommandBody(),
        min_length=1,
        max_length=settings.DM_MAX_COMMANDS_PER_TASK,
        required=False,
    )


class BulkBody(serializers.Serializer[Any]):
    """1 to 500 tasks, all of them or none."""

    tasks = serializers.ListField(child=TaskBody(), min_length=1, max_length=drafts.BULK_MAX)


class WarningAnswer(serializers.Serializer[Any]):
    """Something that is not wrong, and likely not meant."""

    path = serializers.CharField(help_text="Where it stands in the request.")
    code = serializers.CharField(help_text="For programs: shebang_not_used.")
    text = serializers.CharField(help_text="For people, in the caller's language.")


class CreatedTaskAnswer(serializers.Serializer[Any]):
    """A task that now exists."""

    task_id = serializers.UUIDField()
    name = serializers.CharField()
    status = serializers.ChoiceField(choices=TaskStatus.choices)
    target_hosts = serializers.IntegerField(help_text="Hosts that the target names now.")
    warnings = WarningAnswer(many=True)


class BulkAnswer(serializers.Serializer[Any]):
    """The tasks that now exist, in the order of the request."""

    count = serializers.IntegerField()
    results = CreatedTaskAnswer(many=True)


def _parameter(name: str, kind: Any, text: str, **more: Any) -> OpenApiParameter:
    return OpenApiParameter(name, kind, OpenApiParameter.QUERY, description=text, **more)


def _contains(name: str, text: str, characters: int) -> OpenApiParameter:
    described = {"type": "string", "pattern": NO_NUL, "maxLength": characters}
    return _parameter(name, described, text)


def _whole(name: str, text: str, low: int, high: int) -> OpenApiParameter:
    return _parameter(name, {"type": "integer", "minimum": low, "maximum": high}, text)


PAGE_PARAMETERS = [
    _parameter("page", int, "Which page, from 1."),
    _parameter("size", int, "Rows a page, at most DM_PAGE_SIZE_MAX (200)."),
]
TASK_FILTERS = [
    *PAGE_PARAMETERS,
    _parameter("status", str, "Tasks in any of these states.", enum=TaskStatus.values, many=True),
    _contains("name", "Tasks whose name contains this.", drafts.NAME_CHARACTERS),
    _contains("created_by", "Tasks of this user name.", 150),
    _parameter("created_from", OpenApiTypes.DATETIME, "Created then or later."),
    _parameter("created_to", OpenApiTypes.DATETIME, "Created before."),
]
HOST_FILTERS = [
    *PAGE_PARAMETERS,
    _parameter(
        "outcome",
        str,
        "Hosts with any of these outcomes; open: not ended.",
        enum=[*Outcome.values, "open"],
        many=True,
    ),
    _parameter(
        "state", str, "Hosts with a row in any of these states.", enum=RowStatus.values, many=True
    ),
    _contains("hostname", "Hosts whose name contains this.", 253),
]
_STREAM = _parameter("stream", str, "stdout or stderr.", enum=list(STREAMS))
_ENCODING = _parameter(
    "encoding", str, "text (default) or base64, which is exact.", enum=list(ENCODINGS)
)
# Not a choice of the caller's, though there are two renderers for the sake of problems.
_NO_FORMAT = OpenApiParameter("format", exclude=True)
_CHARSET = _parameter(
    "charset",
    str,
    "The charset of the output as text, in any case; other names such as GBK are taken too. "
    "When it is left out: the host's own (output_charset).",
    enum=list(CHARSETS),
)
_DROPPED = [
    OpenApiParameter(
        "X-Output-Dropped-Bytes",
        OpenApiTypes.INT,
        OpenApiParameter.HEADER,
        description="How many bytes the agent dropped in the middle.",
        response=[200],
    ),
    OpenApiParameter(
        "X-Output-Head-Bytes",
        OpenApiTypes.INT,
        OpenApiParameter.HEADER,
        description="How many bytes of the answer lay before what was dropped.",
        response=[200],
    ),
]
ROW_PARAMETERS = [
    _NO_FORMAT,
    _parameter("command", UUID, "The step.", required=True),
    _parameter("host", UUID, "The host.", required=True),
    _STREAM,
]
RAW_PARAMETERS = [*ROW_PARAMETERS, *_DROPPED]
LIVE_PARAMETERS = [
    *ROW_PARAMETERS,
    _ENCODING,
    _CHARSET,
    _whole("offset", "Where the next piece begins: next_offset of the last one.", 0, 2**40),
]
LOG_FILTERS = [
    *PAGE_PARAMETERS,
    _parameter("command", UUID, "Only this step."),
    _parameter("host", UUID, "Only this host."),
    _parameter("status", str, "Rows in any of these states.", enum=RowStatus.values, many=True),
    _parameter("stream", str, "stdout, stderr, or both.", enum=list(STREAMS), many=True),
    _ENCODING,
    _CHARSET,
    _whole(
        "limit_bytes",
        "Bytes of each stream at most; the middle is left out.",
        LIMIT_BYTES_LOW,
        LIMIT_BYTES_HIGH,
    ),
]
PROGRESS_PARAMETERS = [
    _parameter(
        "cursor",
        {"type": "string", "pattern": r"^[0-9]{1,18}(\.[0-9]{1,18}\.[0-9]{1,18})?$"},
        "The cursor of an earlier answer: tell the rows changed since.",
    ),
    _parameter("size", int, "Changed rows at most, up to DM_PAGE_SIZE_MAX (200)."),
]
GROUP_PARAMETERS = [*PAGE_PARAMETERS, _parameter("command", UUID, "The step.", required=True)]
