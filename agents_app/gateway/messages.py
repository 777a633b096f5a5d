"""The requests of the agent protocol, typed; docs/agent-protocol.md says what the fields mean."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from agents_app import protocol
from devops_manager.lib.one_line import FORGING

# Control characters, C1 among them, what turns the order of text or breaks lines, and what shows
# nothing: with these a host could be shown under a name that is not its own.
_NO_CONTROL = rf"^[^{FORGING}]*\Z"
_ONE_WORD = rf"^[^\s{FORGING}]+\Z"
_BIGINT = 2**63 - 1

Counter = Annotated[int, Meta(ge=0, le=_BIGINT)]
Figure = Annotated[float, Meta(ge=0, le=1e9)]
Time = Annotated[float, Meta(ge=0, le=1e11)]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]
HostName = Annotated[str, Meta(min_length=1, max_length=253, pattern=_ONE_WORD)]
Version = Annotated[str, Meta(max_length=32, pattern=_NO_CONTROL)]
ShortText = Annotated[str, Meta(max_length=64, pattern=_NO_CONTROL)]
Encoding = Literal["utf-8", "base64"]
StreamName = Literal["stdout", "stderr"]


class LoadMessage(Struct, frozen=True, gc=False):
    """A host's figures; each may be left out."""

    cpu_percent: Figure | None = None
    memory_percent: Figure | None = None
    load1: Figure | None = None
    disk_percent: Figure | None = None
    running: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None


class HeldMessage(Struct, frozen=True, gc=False):
    """One fence of the agent's journal."""

    fence: UUID
    state: Literal["accepted", "running", "finished"]


class HostMessage(Struct, frozen=True):
    """What a host is like; told when it changed. What is left out stays as it was."""

    hostname: HostName | None = None
    os: Annotated[str, Meta(max_length=128, pattern=_NO_CONTROL)] | None = None
    arch: Annotated[str, Meta(max_length=32, pattern=_NO_CONTROL)] | None = None
    ip: Annotated[str, Meta(max_length=45)] | None = None
    facts: dict[str, Any] | None = None


class PollMessage(Struct, frozen=True):
    """``poll``.

    ``holding`` has no default: taken for empty where it was forgotten, it would interrupt whatever
    runs on the host.
    """

    journal_id: UUID
    run: Counter
    instance_id: UUID
    seq: Counter
    boot_id: ShortText
    time: Time
    holding: Annotated[tuple[HeldMessage, ...], Meta(max_length=protocol.MAX_HOLDING)]
    agent_version: Version = ""
    load: LoadMessage | None = None
    slots: Annotated[int, Meta(ge=0, le=protocol.MAX_SLOTS)] | None = None
    draining: bool = False
    wait_seconds: Seconds | None = None
    host: HostMessage | None = None

    @property
    def offered_slots(self) -> int | None:
        """The most that the agent will run at once: nothing while it drains."""
        return 0 if self.draining else self.slots


class HeartbeatMessage(Struct, frozen=True):
    """``heartbeat``."""

    time: Time | None = None
    boot_id: ShortText = ""
    agent_version: Version = ""
    load: LoadMessage | None = None
    draining: bool = False


class StreamMessage(Struct, frozen=True, gc=False):
    """What is kept of one stream."""

    encoding: Encoding = "utf-8"
    head: str = ""
    tail: str = ""
    dropped_bytes: int = 0
    total_bytes: int | None = None


class ResultMessage(Struct, frozen=True):
    """One result. What has the right type but cannot be stored gets the verdict ``invalid``."""

    fence: UUID
    status: str
    exit_code: int | None = None
    error_code: str = ""
    error_message: str = ""
    execution_time_ms: int | None = None
    started_at: float | None = None
    finished_at: float | None = None
    output_digest: str | None = None
    stdout: StreamMessage = StreamMessage()
    stderr: StreamMessage = StreamMessage()


class ChunkMessage(Struct, frozen=True, gc=False):
    """One live chunk of a stream."""

    fence: UUID
    stream: StreamName
    offset: Counter
    data: str
    encoding: Encoding = "utf-8"


class ReportMessage(Struct, frozen=True):
    """``report``."""

    results: Annotated[
        tuple[ResultMessage, ...], Meta(max_length=protocol.MAX_RESULTS_PER_REPORT)
    ] = ()
    output: Annotated[
        tuple[ChunkMessage, ...], Meta(max_length=protocol.MAX_CHUNKS_PER_REPORT)
    ] = ()


class UnreadReportMessage(Struct, frozen=True):
    """``report`` with its entries as they came, to be read one by one."""

    results: Annotated[
        tuple[msgspec.Raw, ...], Meta(max_length=protocol.MAX_RESULTS_PER_REPORT)
    ] = ()
    output: Annotated[tuple[msgspec.Raw, ...], Meta(max_length=protocol.MAX_CHUNKS_PER_REPORT)] = ()


class EnrollMessage(Struct, frozen=True):
    """``enroll``."""

    token: Annotated[str, Meta(min_length=1, max_length=200)]
    hostname: HostName
    os: Annotated[str, Meta(max_length=128, pattern=_NO_CONTROL)]
    arch: Annotated[str, Meta(max_length=32, pattern=_NO_CONTROL)]
    machine_id: ShortText
    agent_version: Version = ""
    ip: Annotated[str, Meta(max_length=45)] | None = None
    facts: dict[str, Any] = {}


POLL = msgspec.json.Decoder(PollMessage)
HEARTBEAT = msgspec.json.Decoder(HeartbeatMessage)
REPORT = msgspec.json.Decoder(ReportMessage)
UNREAD_REPORT = msgspec.json.Decoder(UnreadReportMessage)
RESULT = msgspec.json.Decoder(ResultMessage)
CHUNK = msgspec.json.Decoder(ChunkMessage)
ENROLL = msgspec.json.Decoder(EnrollMessage)

# PostgreSQL stores no NUL in jsonb. An escaped backslash before ``u0000`` is caught too, which
# refuses a fact that nobody has.
_NUL = re.compile(rb"\\u0000")


def fault_of(facts: dict[str, Any]) -> str | None:
    """Return why facts cannot be stored, or None."""
    if _deeper(facts, protocol.MAX_FACTS_DEPTH):
        return f"facts are nested more than {protocol.MAX_FACTS_DEPTH} deep"
    text = msgspec.json.encode(facts)
    if _NUL.search(text):
        return "a fact has a NUL character"
    if len(text) > protocol.MAX_FACTS_BYTES:
        return f"facts take more than {protocol.MAX_FACTS_BYTES} bytes"
    return None


def _deeper(value: object, levels: int) -> bool:
    if isinstance(value, dict):
        value = list(value.values())
    if not isinstance(value, list):
        return False
    return levels == 0 or any(_deeper(item, levels - 1) for item in value)
