"""What the gateway sends, checked and typed: commands, cancels and the configuration."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from typing import Any

from agents_app.protocol import KIND_COMMAND, KIND_SCRIPT

log = logging.getLogger(__name__)

_TEXTS = ("task_id", "command_id", "body", "interpreter", "working_directory", "run_as")


@dataclasses.dataclass(frozen=True)
class Command:
    """One delivery: what to run under which fence. ``defect`` says why it cannot be run."""

    fence: str
    attempt: int = 1
    task_id: str = ""
    command_id: str = ""
    kind: str = KIND_COMMAND
    body: str = dataclasses.field(default="", repr=False)
    interpreter: str = ""
    parameters: tuple[str, ...] = dataclasses.field(default=(), repr=False)
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    working_directory: str = ""
    run_as: str = ""
    timeout_seconds: float = 300.0
    kill_grace_seconds: float = 10.0
    output_cap_bytes: int = 262144
    defect: str = ""

    def to_json(self) -> str:
        """The form in which the journal keeps it until it ended."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        fields["environment"] = dict(self.environment)
        return json.dumps(fields)


@dataclasses.dataclass(frozen=True)
class Configuration:
    """What the gateway wants of its agents for now."""

    live_interval_seconds: float = 1.0
    live_chunk_bytes: int = 65536
    hostname: str = ""


@dataclasses.dataclass(frozen=True)
class PollAnswer:
    """The answer to a poll."""

    commands: tuple[Command, ...]
    cancel: tuple[str, ...]
    configuration: Configuration


class _DefectError(ValueError):
    """A field of a command is missing or of the wrong type."""


def parse_poll_answer(answer: Mapping[str, Any]) -> PollAnswer | None:
    """Check an answer; None if it is not the gateway's, which has a list of commands.

    What cannot be read as a command with a fence is logged and left out.
    """
    if not isinstance(answer.get("commands"), list):
        return None
    commands = []
    for item in answer["commands"]:
        fence = item.get("fence") if isinstance(item, dict) else None
        if isinstance(fence, str) and 0 < len(fence) <= 64:
            commands.append(parse_command(item))
        else:
            log.error("the gateway sent a command without a fence; it is ignored")
    cancel = tuple(fence for fence in _list(answer.get("cancel")) if isinstance(fence, str))
    return PollAnswer(tuple(commands), cancel, _configuration(answer.get("config")))


def parse_command(item: Mapping[str, Any]) -> Command:
    """A command from its JSON object, which has a fence. A bad field becomes its ``defect``."""
    fence = str(item["fence"])
    try:
        fields: dict[str, Any] = {name: _text(item, name) for name in _TEXTS}
        fields["kind"] = item.get("kind", KIND_COMMAND)
        if fields["kind"] not in (KIND_COMMAND, KIND_SCRIPT):
            raise _DefectError("kind is neither command nor script")
        fields["attempt"] = int(_number(item, "attempt", 1, low=0))
        fields["parameters"] = tuple(_texts(_list(item.get("parameters")), "parameters"))
        fields["environment"] = _environment(item.get("environment"))
        fields["timeout_seconds"] = _number(item, "timeout_seconds", 300, low=0.001)
        fields["kill_grace_seconds"] = _number(item, "kill_grace_seconds", 10, low=0)
        fields["output_cap_bytes"] = int(_number(item, "output_cap_bytes", 262144, low=2))
        fields["defect"] = _text(item, "defect")
    except _DefectError as defect:
        return Command(fence=fence, defect=str(defect))
    return Command(fence=fence, **fields)


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(item: Mapping[str, Any], name: str) -> str:
    value = item.get(name)
    if value is None:
        return ""
    return _texts([value], name)[0]


def _texts(values: list[Any], name: str) -> list[str]:
    for value in values:
        if not isinstance(value, str):
            raise _DefectError(f"{name} is not text")
    return values


def _environment(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _DefectError("environment is not an object")
    _texts(list(value.values()), "environment")
    for name in value:
        if not name or "=" in name:
            raise _DefectError("environment has an empty name or one with an equals sign")
    return value


def _number(item: Mapping[str, Any], name: str, default: float, *, low: float) -> float:
    value = item.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= low:
        raise _DefectError(f"{name} is not a number of at least {low:g}")
    return value


def _configuration(value: object) -> Configuration:
    if not isinstance(value, dict):
        return Configuration()
    default = Configuration()
    interval = value.get("live_interval_seconds", default.live_interval_seconds)
    chunk = value.get("live_chunk_bytes", default.live_chunk_bytes)
    if not isinstance(interval, (int, float)) or not isinstance(chunk, int):
        return default
    name = value.get("hostname")
    return Configuration(
        live_interval_seconds=min(max(float(interval), 0.05), 60.0),
        live_chunk_bytes=min(max(chunk, 1024), 1024 * 1024),
        hostname=name if isinstance(name, str) and name.isprintable() else "",
    )
