"""What crosses the queue's boundary: look-ups, deliveries, results, verdicts. Plain and frozen.

Structs rather than dataclasses: thousands of them are made a second, and a frozen dataclass takes
ten times as long.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID


class PollVerdict(enum.Enum):
    """What a look-up found about the poll itself, before any work."""

    OK = "ok"
    SKIPPED = "skipped"  # another transaction holds the host: try again in 50 to 200 ms
    SUPERSEDED = "superseded"  # its own pair or a higher one is stored: 409
    PENDING = "pending"  # the host waits for approval: 403 host_pending
    DISABLED = "disabled"  # 403 host_disabled
    QUARANTINED = "quarantined"  # 403 host_quarantined
    REVOKED = "revoked"  # the credential's generation is not the host's: 401


class Held(Struct, frozen=True):
    """One entry of a poll's ``holding``; ``finished``: the agent has its result already."""

    fence: UUID
    finished: bool


class Poll(Struct, frozen=True):
    """One look-up of one host's open poll.

    ``host`` is the host's primary key; ``generation`` the one of the credential that it proved.
    ``first`` is True for the first look-up of a poll and False for later ones of the same poll.
    ``slots`` is the most that the agent will run at once (None: the host's max_concurrency
    decides).
    """

    host: int
    generation: int
    journal_id: UUID
    run: int
    seq: int
    instance_id: UUID
    holding: tuple[Held, ...]
    first: bool
    slots: int | None = None


class DeliveredCommand(Struct, frozen=True, eq=False):
    """What is to be run: a step of a task that was started, and so does not change any more."""

    task_id: UUID
    command_id: UUID
    name: str
    position: int
    kind: str
    body: str
    interpreter: str
    parameters: Sequence[str]
    environment: Mapping[str, str]
    working_directory: str
    run_as: str
    timeout_seconds: int


class Delivery(Struct, frozen=True):
    """One command for an agent to run, under one fence."""

    fence: UUID
    attempt: int
    command: DeliveredCommand


class Answer(Struct, frozen=True):
    """What one look-up came to.

    ``more`` is True when the host's slots are full and there is still something for it: pending
    work, or a cancel that is not settled. ``recheck_seconds`` says when to look again although
    nothing wakes the host (a delivery that is not settled yet), or None. ``hostname`` is the name
    that people see.
    """

    host: int
    verdict: PollVerdict
    commands: tuple[Delivery, ...] = ()
    cancel: tuple[UUID, ...] = ()
    more: bool = False
    max_concurrency: int = 0
    hostname: str = ""
    recheck_seconds: float | None = None


class StreamOutput(Struct, frozen=True):
    """What is kept of one stream: exact first and last bytes, and what was dropped between them."""

    head: bytes = b""
    tail: bytes = b""
    dropped_bytes: int = 0


class Result(Struct, frozen=True):
    """One result as an agent reported it. ``digest``: SHA-256 over all of it, by the gateway."""

    host: int
    generation: int
    fence: UUID
    status: str
    exit_code: int | None
    error_code: str
    error_message: str
    execution_time_ms: int | None
    output_digest: bytes | None
    digest: bytes
    stdout: StreamOutput
    stderr: StreamOutput


class Verdict(enum.StrEnum):
    """What became of one result; the values but ``refused`` are the protocol's words."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    UNKNOWN = "unknown"
    INVALID = "invalid"
    REFUSED = "refused"


class ResultVerdict(Struct, frozen=True):
    """The answer to one result; ``refused`` has a reason.

    ``reason`` is ``revoked``, ``disabled``, … when the host may not report at all (the request gets
    401 or 403 and the agent keeps the result), else empty. ``detail`` explains ``invalid``.
    """

    fence: UUID
    verdict: Verdict
    detail: str = ""
    reason: str = ""


class ReportOutcome(Struct, frozen=True):
    """What a batch of results did: verdicts in the results' order, and hosts with new work."""

    verdicts: tuple[ResultVerdict, ...]
    wake_hosts: tuple[int, ...] = ()
