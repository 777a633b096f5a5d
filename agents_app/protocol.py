"""Names and limits of the agent protocol that server and agent share.

Standard library only, Python 3.9 and later: this one file goes into the agent. The protocol itself
is in docs/agent-protocol.md.
"""

from __future__ import annotations

PREFIX = "/agent/v1/"

ENROLLMENT_TOKEN_PREFIX = "dme_"
CREDENTIAL_PREFIX = "dma_"

MAX_POLL_BYTES = 1024 * 1024
MAX_REPORT_BYTES = 8 * 1024 * 1024
MAX_SMALL_BODY_BYTES = 64 * 1024
MAX_RESULTS_PER_REPORT = 100
MAX_CHUNKS_PER_REPORT = 100
MAX_HOLDING = 2000
MAX_SLOTS = 1_000_000
MAX_FACTS_BYTES = 64 * 1024
MAX_FACTS_DEPTH = 16
# Of one result. Exit codes go as far below zero, and one further. More bytes than any command
# prints (an exbibyte), more time than any runs.
MAX_EXIT_CODE = 2**31 - 1
MAX_ERROR_CODE_CHARACTERS = 64
MAX_ERROR_MESSAGE_CHARACTERS = 2000
MAX_DROPPED_BYTES = 2**60
MAX_EXECUTION_MILLISECONDS = 10 * 366 * 86_400_000

HELD_ACCEPTED = "accepted"
HELD_RUNNING = "running"
HELD_FINISHED = "finished"
HELD_STATES = (HELD_ACCEPTED, HELD_RUNNING, HELD_FINISHED)

RESULT_COMPLETED = "completed"
RESULT_FAILED = "failed"
RESULT_TIMEOUT = "timeout"
RESULT_CANCELED = "canceled"
RESULT_INTERRUPTED = "interrupted"
RESULT_STATUSES = (
    RESULT_COMPLETED,
    RESULT_FAILED,
    RESULT_TIMEOUT,
    RESULT_CANCELED,
    RESULT_INTERRUPTED,
)

VERDICT_ACCEPTED = "accepted"
VERDICT_DUPLICATE = "duplicate"
VERDICT_CONFLICT = "conflict"
VERDICT_UNKNOWN = "unknown"
VERDICT_INVALID = "invalid"
VERDICT_GAP = "gap"
VERDICT_IGNORED = "ignored"

CODE_INVALID_REQUEST = "invalid_request"
CODE_CREDENTIAL_INVALID = "credential_invalid"
CODE_ENROLLMENT_TOKEN_INVALID = "enrollment_token_invalid"
CODE_HOST_PENDING = "host_pending"
CODE_HOST_DISABLED = "host_disabled"
CODE_HOST_QUARANTINED = "host_quarantined"
CODE_POLL_SUPERSEDED = "poll_superseded"
CODE_NOT_FOUND = "not_found"
CODE_TOO_LARGE = "too_large"
CODE_REQUEST_TIMEOUT = "request_timeout"
CODE_BUSY = "busy"
CODE_UNAVAILABLE = "unavailable"

KIND_COMMAND = "command"
KIND_SCRIPT = "script"

ENCODING_TEXT = "utf-8"
ENCODING_BASE64 = "base64"

STREAMS = ("stdout", "stderr")
