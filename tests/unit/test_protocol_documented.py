"""docs/agent-protocol.md names every field and limit that messages.py and protocol.py have."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest
from django.conf import settings
from msgspec import inspect

from agents_app import protocol
from agents_app.gateway import messages
from devops_manager.access.agent_audit import EVENTS_A_MINUTE

DOCUMENT = settings.BASE_DIR / "docs" / "agent-protocol.md"
MESSAGES = {
    "enroll": messages.EnrollMessage,
    "poll": messages.PollMessage,
    "poll `load`": messages.LoadMessage,
    "poll `holding[]`": messages.HeldMessage,
    "poll `host`": messages.HostMessage,
    "heartbeat": messages.HeartbeatMessage,
    "report": messages.ReportMessage,
    "report `results[]`": messages.ResultMessage,
    "report `stdout`, `stderr`": messages.StreamMessage,
    "report `output[]`": messages.ChunkMessage,
}
NUMBERS = {
    "MAX_POLL_BYTES": protocol.MAX_POLL_BYTES,
    "MAX_REPORT_BYTES": protocol.MAX_REPORT_BYTES,
    "MAX_SMALL_BODY_BYTES": protocol.MAX_SMALL_BODY_BYTES,
    "MAX_RESULTS_PER_REPORT": protocol.MAX_RESULTS_PER_REPORT,
    "MAX_CHUNKS_PER_REPORT": protocol.MAX_CHUNKS_PER_REPORT,
    "MAX_HOLDING": protocol.MAX_HOLDING,
    "MAX_SLOTS": protocol.MAX_SLOTS,
    "MAX_FACTS_BYTES": protocol.MAX_FACTS_BYTES,
    "MAX_FACTS_DEPTH": protocol.MAX_FACTS_DEPTH,
    "MAX_EXIT_CODE": protocol.MAX_EXIT_CODE,
    "MAX_ERROR_CODE_CHARACTERS": protocol.MAX_ERROR_CODE_CHARACTERS,
    "MAX_ERROR_MESSAGE_CHARACTERS": protocol.MAX_ERROR_MESSAGE_CHARACTERS,
    "MAX_DROPPED_BYTES": protocol.MAX_DROPPED_BYTES,
    "MAX_EXECUTION_MILLISECONDS": protocol.MAX_EXECUTION_MILLISECONDS,
    "EVENTS_A_MINUTE": EVENTS_A_MINUTE,
}
PATTERNS = {messages._NO_CONTROL: "no forging characters", messages._ONE_WORD: "one word"}


PLAIN = {
    inspect.BoolType: "true or false",
    inspect.UUIDType: "UUID",
    inspect.DictType: "object",
    inspect.StructType: "object, see below",
}


def kind(found: Any) -> str:
    """Return a type as the document writes it."""
    match found:
        case inspect.UnionType():
            parts = [kind(one) for one in found.types if not isinstance(one, inspect.NoneType)]
            return f"{' or '.join(parts)}, or null"
        case inspect.StrType():
            return text(found)
        case inspect.IntType() | inspect.FloatType():
            return number(found)
        case inspect.LiteralType():
            return " or ".join(f"`{value}`" for value in sorted(found.values))
        case inspect.VarTupleType():
            return f"list of objects, at most {found.max_length}"
    return PLAIN[type(found)]


def text(found: inspect.StrType) -> str:
    words = ["text"]
    if found.max_length is not None:
        words.append(f"{found.min_length or 0} to {found.max_length} characters")
    if found.pattern is not None:
        words.append(PATTERNS[found.pattern])
    return ", ".join(words)


def number(found: inspect.IntType | inspect.FloatType) -> str:
    name = "whole number" if isinstance(found, inspect.IntType) else "number"
    if found.ge is None:
        return name
    return f"{name}, {found.ge:g} to {int(found.le or 0):,}"


def fields() -> set[str]:
    rows = set()
    for name, message in MESSAGES.items():
        found = inspect.type_info(message)
        assert isinstance(found, inspect.StructType)
        for one in found.fields:
            required = "required" if one.required else ""
            rows.add(f"| {name} | `{one.name}` | {required} | {kind(one.type)} |")
    return rows


def table(heading: str) -> set[str]:
    text = DOCUMENT.read_text(encoding="utf-8")
    section = text.split(f"\n### {heading}\n", 1)[1].split("\n#", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return set(rows[2:])


def test_the_table_of_fields_is_what_the_gateway_decodes() -> None:
    assert table("Fields") == fields()


def test_the_table_of_limits_has_the_numbers_of_the_program() -> None:
    written = {}
    for row in table("Limits"):
        _, name, number, _what, _ = (cell.strip() for cell in row.split("|"))
        written[name.strip("`")] = float(re.sub(r"[,\s]", "", number))
    assert written == {name: float(value) for name, value in NUMBERS.items()}


def test_every_limit_of_the_protocol_is_in_the_table() -> None:
    own = {name for name in vars(protocol) if name.startswith("MAX_")}
    assert own <= set(NUMBERS)


@pytest.mark.parametrize(
    "values", [protocol.RESULT_STATUSES, protocol.HELD_STATES, protocol.STREAMS], ids=str
)
def test_every_word_of_the_protocol_is_written(values: tuple[str, ...]) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert all(f"`{value}`" in text for value in values)


def test_the_fields_are_read_from_the_decoders_that_serve() -> None:
    decoders = {messages.ENROLL.type, messages.POLL.type, messages.HEARTBEAT.type}
    decoders |= {messages.REPORT.type, messages.RESULT.type, messages.CHUNK.type}
    assert decoders <= set(MESSAGES.values())
    assert msgspec.json.decode(b"[]", type=tuple[int, ...]) == ()
