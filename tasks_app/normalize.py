"""The digest by which outputs are grouped: alike but for colours, line ends and trailing blanks."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks_app.records import StreamOutput

# CSI and OSC escape sequences (ECMA-48), then blanks before a line end, then blanks at the end
_ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
_LINE_ENDS = re.compile(rb"[ \t\r]+\n")


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
            text = _LINE_ENDS.sub(b"\n", _ESCAPES.sub(b"", part)).rstrip()
            digest.update(len(text).to_bytes(8, "big"))
            digest.update(text)
        digest.update(stream.dropped_bytes.to_bytes(8, "big"))
    return digest.digest()


_digest_of_short = lru_cache(_KEPT)(_digest)
