"""Turns what an agent reports into what is stored: decoded, checked, capped, digested; all pure.

Whatever has the right type but cannot be stored raises ``Unstorable``: that one result is answered
``invalid``, its neighbours in the request are not.
"""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64decode
from typing import TYPE_CHECKING

import msgspec

from agents_app import protocol
from devops_manager.lib import fault_points
from tasks_app.records import Result, StreamOutput

if TYPE_CHECKING:
    from agents_app.gateway.authentication import Caller
    from agents_app.gateway.messages import ResultMessage, StreamMessage

_DIGEST_BYTES = 32
# The error code of a command whose result is not looked at any more (``gateway/suspects.py``).
SET_ASIDE = "result_set_aside"
_ENDED_EARLY = (
    protocol.RESULT_TIMEOUT,
    protocol.RESULT_CANCELED,
    protocol.RESULT_INTERRUPTED,
)

_encode = msgspec.json.Encoder().encode


class Unstorable(ValueError):
    """Why one result cannot be stored."""


def decode_text(text: str, encoding: str) -> bytes:
    """Return the bytes of a text as the protocol carries it. Raises Unstorable."""
    if encoding == protocol.ENCODING_TEXT:
        return text.encode()
    try:
        return b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Unstorable("the output is not base64") from None


def result_of(message: ResultMessage, caller: Caller, *, cap_bytes: int) -> Result:
    """Return what is stored of one result; a stream beyond ``cap_bytes`` is cut, and counted.

    The digest is over everything that the agent reported, before the cut. Raises Unstorable.
    """
    if fault_points.CHOSEN:
        fault_points.reach_with("gateway_exit_on_result", message.fence)
        fault_points.reach_with("gateway_hang_on_result", message.fence)
    _check(message)
    stdout = _stream(message.stdout, "stdout")
    stderr = _stream(message.stderr, "stderr")
    return Result(
        host=caller.host,
        generation=caller.generation,
        fence=message.fence,
        status=message.status,
        exit_code=_exit_code(message),
        error_code=message.error_code,
        error_message=message.error_message,
        execution_time_ms=message.execution_time_ms,
        output_digest=_output_digest(message.output_digest),
        digest=_digest(message, stdout, stderr),
        stdout=cap(stdout, cap_bytes),
        stderr=cap(stderr, cap_bytes),
    )


def set_aside_result(message: ResultMessage, caller: Caller) -> Result:
    """Return what ends a command whose result is set aside: that its outcome is not known, and why.

    Nothing of the result is used but its fence, its status if that is a known word, and its exit
    code. The digest is over the result as it came, so that the same one again is a duplicate.
    """
    known = message.status in protocol.RESULT_STATUSES
    code = message.exit_code
    said = message.status if known else "unknown"
    if code is not None and abs(code) <= protocol.MAX_EXIT_CODE:
        said += f", exit code {code}"
    return Result(
        host=caller.host,
        generation=caller.generation,
        fence=message.fence,
        status=protocol.RESULT_INTERRUPTED,
        exit_code=None,
        error_code=SET_ASIDE,
        error_message=f"Two gateways ended while they took in its result ({said}); it is set aside",
        execution_time_ms=None,
        output_digest=None,
        digest=hashlib.sha256(_encode(message)).digest(),
        stdout=StreamOutput(),
        stderr=StreamOutput(),
    )


def _exit_code(message: ResultMessage) -> int | None:
    """Return the exit code; 0 says that all was done, which what was ended early did not.

    Older agents report it of commands that end politely when they are told to.
    """
    if message.exit_code == 0 and message.status in _ENDED_EARLY:
        return None
    return message.exit_code


def cap(output: StreamOutput, cap_bytes: int) -> StreamOutput:
    """Keep at most ``cap_bytes``: half at the head, half at the tail; the rest is only counted."""
    size = len(output.head) + len(output.tail)
    if size <= cap_bytes:
        return output
    head, tail = output.head, output.tail
    if not output.dropped_bytes:  # one piece: where the agent cut it does not matter
        head = tail = head + tail
    head_room = cap_bytes // 2
    tail_room = cap_bytes - head_room
    if output.dropped_bytes:
        # room that one end does not need goes to the other
        head_room = max(head_room, cap_bytes - len(tail))
        tail_room = max(tail_room, cap_bytes - len(output.head))
    head = head[:head_room]
    tail = tail[max(0, len(tail) - tail_room) :]
    dropped = output.dropped_bytes + size - len(head) - len(tail)
    return StreamOutput(head=head, tail=tail, dropped_bytes=dropped)


def _check(message: ResultMessage) -> None:
    if message.status not in protocol.RESULT_STATUSES:
        raise Unstorable(f"status {message.status[:40]!r} is not known")
    code, most = message.exit_code, protocol.MAX_EXIT_CODE
    if code is not None and not -most - 1 <= code <= most:
        raise Unstorable("exit_code is out of range")
    if message.status == protocol.RESULT_COMPLETED and message.exit_code != 0:
        raise Unstorable("completed means exit_code 0")
    unexplained = not message.error_code and message.exit_code == 0
    if message.status == protocol.RESULT_FAILED and unexplained:
        raise Unstorable("failed with exit_code 0 needs an error_code")
    time_ms = message.execution_time_ms
    if time_ms is not None and not 0 <= time_ms <= protocol.MAX_EXECUTION_MILLISECONDS:
        raise Unstorable("execution_time_ms is out of range")
    for name, text, length in (
        ("error_code", message.error_code, protocol.MAX_ERROR_CODE_CHARACTERS),
        ("error_message", message.error_message, protocol.MAX_ERROR_MESSAGE_CHARACTERS),
    ):
        if "\0" in text:
            raise Unstorable(f"{name} has a NUL character")
        if len(text) > length:
            raise Unstorable(f"{name} is longer than {length} characters")


def _stream(message: StreamMessage, name: str) -> StreamOutput:
    head = decode_text(message.head, message.encoding)
    tail = decode_text(message.tail, message.encoding)
    if not 0 <= message.dropped_bytes <= protocol.MAX_DROPPED_BYTES:
        raise Unstorable(f"{name}.dropped_bytes is out of range")
    total = len(head) + message.dropped_bytes + len(tail)
    if message.total_bytes is not None and message.total_bytes != total:
        raise Unstorable(f"{name}: head, dropped and tail are not total_bytes together")
    return StreamOutput(head=head, tail=tail, dropped_bytes=message.dropped_bytes)


def _output_digest(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        digest = bytes.fromhex(text)
    except ValueError:
        digest = b""
    if len(digest) != _DIGEST_BYTES:
        raise Unstorable("output_digest is not a SHA-256 in hex")
    return digest


def _digest(message: ResultMessage, stdout: StreamOutput, stderr: StreamOutput) -> bytes:
    """Return SHA-256 over all of a result: however a record is sent, it gives the same digest.

    Lengths go in before bytes, so that no two results run together to the same input.
    """
    streams = (stdout.head, stdout.tail, stderr.head, stderr.tail)
    digest = hashlib.sha256(
        _encode(
            [
                message.status,
                message.exit_code,
                message.error_code,
                message.error_message,
                message.execution_time_ms,
                message.started_at,
                message.finished_at,
                message.output_digest,
                stdout.dropped_bytes,
                stderr.dropped_bytes,
                [len(stream) for stream in streams],
            ]
        )
    )
    for stream in streams:
        digest.update(stream)
    return digest.digest()
