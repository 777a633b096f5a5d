"""Describes the tasks API for OpenAPI: bodies by hand, answers from the shapes of the selectors."""

from __future__ import annotations

import dataclasses
import types
import typing
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.db.models import TextChoices
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema_serializer
from rest_framework import serializers

from devops_manager.lib.decoding import CHARSETS
from tasks_app.models import CommandKind, OfflinePolicy, OnFailure
from tasks_app.selectors.outputs import ENCODINGS, STREAMS
from tasks_app.services import drafts
from tasks_app.states import Outcome, RowStatus, TaskStatus

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


class SelectionBody(serializers.Serializer[Any]):
    """Hosts by id, by the names of their groups, by tag; together, not in common."""

    hosts = serializers.ListField(child=serializers.UUIDField(), required=False)
    groups = serializers.ListField(child=serializers.CharField(), required=False)
    tags = serializers.ListField(child=serializers.CharField(), required=False)


class TargetBody(SelectionBody):
    """Which hosts a task is for."""

    all = serializers.BooleanField(required=False, help_text="Every host within reach.")
    exclude = SelectionBody(required=False)


class CommandBody(serializers.Serializer[Any]):
    """One step. See docs/tasks.md."""

    name = serializers.CharField(max_length=drafts.NAME_CHARACTERS, required=False)
    kind = serializers.ChoiceField(
        choices=CommandKind.choices, default=CommandKind.COMMAND, required=False
    )
    body = serializers.CharField(help_text=f"1 to {drafts.BODY_BYTES} bytes of UTF-8.")
    interpreter = serializers.CharField(max_length=drafts.INTERPRETER_CHARACTERS, required=False)
    parameters = serializers.ListField(
        child=serializers.CharField(allow_blank=True),
        max_length=drafts.PARAMETERS_MAX,
        required=False,
    )
    environment = serializers.DictField(
        child=serializers.CharField(allow_blank=True), required=False
    )
    working_directory = serializers.CharField(
        max_length=drafts.WORKING_DIRECTORY_CHARACTERS, required=False
    )
    run_as = serializers.CharField(max_length=drafts.RUN_AS_CHARACTERS, required=False)
    timeout_seconds = serializers.IntegerField(
        min_value=1, max_value=drafts.TIMEOUT_SECONDS_MAX, required=False
    )
    on_failure = serializers.ChoiceField(
        choices=OnFailure.choices, default=OnFailure.STOP, required=False
    )
    host = serializers.UUIDField(
        required=False, allow_null=True, help_text="Only on this host; it joins the targets."
    )


class TaskBody(serializers.Serializer[Any]):
    """A task as it is asked for. See docs/tasks.md."""

    name = serializers.CharField(max_length=drafts.NAME_CHARACTERS)
    description = serializers.CharField(
        max_length=drafts.DESCRIPTION_CHARACTERS, required=False, allow_blank=True
    )
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
    commands = CommandBody(many=True)


class TaskChanges(TaskBody):
    """The fields to change; ``target`` and ``commands`` replace the old ones as a whole."""

    name = serializers.CharField(max_length=drafts.NAME_CHARACTERS, required=False)
    target = TargetBody(required=False)
    commands = CommandBody(many=True, required=False)


class BulkBody(serializers.Serializer[Any]):
    """1 to 500 tasks, all of them or none."""

    tasks = TaskBody(many=True)


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


PAGE_PARAMETERS = [
    _parameter("page", int, "Which page, from 1."),
    _parameter("size", int, "Rows a page, at most DM_PAGE_SIZE_MAX (200)."),
]
TASK_FILTERS = [
    *PAGE_PARAMETERS,
    _parameter("status", str, "Tasks in this state.", enum=TaskStatus.values),
    _parameter("name", str, "Tasks whose name contains this."),
    _parameter("created_by", str, "Tasks of this user name."),
    _parameter("created_from", OpenApiTypes.DATETIME, "Created then or later."),
    _parameter("created_to", OpenApiTypes.DATETIME, "Created before."),
]
HOST_FILTERS = [
    *PAGE_PARAMETERS,
    _parameter(
        "outcome", str, "Hosts with this outcome; open: not ended.", enum=[*Outcome.values, "open"]
    ),
    _parameter("state", str, "Hosts with a row in this state.", enum=RowStatus.values),
    _parameter("hostname", str, "Hosts whose name contains this."),
]
_STREAM = _parameter("stream", str, "stdout or stderr.", enum=list(STREAMS))
_ENCODING = _parameter(
    "encoding", str, "text (default) or base64, which is exact.", enum=list(ENCODINGS)
)
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
    _parameter("command", UUID, "The step.", required=True),
    _parameter("host", UUID, "The host.", required=True),
    _STREAM,
]
RAW_PARAMETERS = [*ROW_PARAMETERS, *_DROPPED]
LIVE_PARAMETERS = [
    *ROW_PARAMETERS,
    _ENCODING,
    _CHARSET,
    _parameter("offset", int, "Where the next piece begins: next_offset of the last one."),
]
LOG_FILTERS = [
    *PAGE_PARAMETERS,
    _parameter("command", UUID, "Only this step."),
    _parameter("host", UUID, "Only this host."),
    _parameter("status", str, "Rows in this state.", enum=RowStatus.values),
    _STREAM,
    _ENCODING,
    _CHARSET,
    _parameter("limit_bytes", int, "Bytes of each stream at most; the middle is left out."),
]
PROGRESS_PARAMETERS = [
    _parameter("cursor", str, "The cursor of an earlier answer: tell the rows changed since."),
    _parameter("size", int, "Changed rows at most, up to DM_PAGE_SIZE_MAX (200)."),
]
GROUP_PARAMETERS = [*PAGE_PARAMETERS, _parameter("command", UUID, "The step.", required=True)]
