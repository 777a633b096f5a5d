"""The digest by which outputs are grouped: alike but for colours, line ends and trailing blanks."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tasks_app.records import StreamOutput

# CSI and OSC escape sequences (ECMA-48), then blanks before a line end, then blanks at the end
_ESCAPES = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
_LINE_ENDS = re.compile(rb"[ \t\r]+\n")


def normalized_digest(stdout: StreamOutput, stderr: StreamOutput) -> bytes:
    """Return SHA-256 over both streams as kept, without what makes equal outputs look different."""
    digest = hashlib.sha256()
    for stream in (stdout, stderr):
        for part in (stream.head, stream.tail):
            text = _LINE_ENDS.sub(b"\n", _ESCAPES.sub(b"", part)).rstrip()
            digest.update(len(text).to_bytes(8, "big"))
            digest.update(text)
        digest.update(stream.dropped_bytes.to_bytes(8, "big"))
    return digest.digest()
