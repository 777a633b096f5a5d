"""The digest by which outputs are grouped: alike but for colors, line ends and trailing blanks.

It is computed in the gateway's process from whatever a host printed, so the time is linear in the
text, and no single step holds the interpreter for long: repetitions are possessive, and blanks are
stripped a line at a time.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks_app.records import StreamOutput

# Complete CSI and OSC escape sequences (ECMA-48); one ends in its line or is none.
_ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*+[ -/]*+[@-~]|\][^\x07\x1b\n]*+(?:\x07|\x1b\\))")
_BLANKS = b" \t\r"
_BLANK_LINE_ENDS = tuple(bytes((blank,)) + b"\n" for blank in _BLANKS)

# Thousands of hosts print the same few words.
_SHORT_BYTES = 256
_KEPT = 1024


def normalized_digest(stdout: StreamOutput, stderr: StreamOutput) -> bytes:
    """Return SHA-256 over both streams as kept, without what makes equal outputs look different."""
    size = len(stdout.head) + len(stdout.tail) + len(stderr.head) + len(stderr.tail)
    return (_digest_of_short if size <= _SHORT_BYTES else _digest)(stdout, stderr)


def _digest(stdout: StreamOutput, stderr: StreamOutput) -> bytes:
    digest = hashlib.sha256()
    for stream in (stdout, stderr):
        for part in (stream.head, stream.tail):
            text = _normalized(part)
            digest.update(len(text).to_bytes(8, "big"))
            digest.update(text)
        digest.update(stream.dropped_bytes.to_bytes(8, "big"))
    return digest.digest()


def _normalized(part: bytes) -> bytes:
    text = _ESCAPES.sub(b"", part)
    if any(end in text for end in _BLANK_LINE_ENDS):
        text = b"\n".join([line.rstrip(_BLANKS) for line in text.split(b"\n")])
    return text.rstrip()


_digest_of_short = lru_cache(_KEPT)(_digest)
