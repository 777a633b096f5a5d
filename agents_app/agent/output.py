"""What a command prints: exact counts and digests of all of it, the head and the tail kept."""

from __future__ import annotations

import base64
import hashlib
import json
import threading

from agents_app.protocol import ENCODING_BASE64, ENCODING_TEXT

JsonDict = dict[str, object]

# Text that JSON would blow up to more than this (control characters become six bytes each) goes as
# base64, so the size of a report follows from the caps.
_LARGEST_ESCAPING = 2


class Capture:
    """One output stream. Keeps at most ``cap_bytes``; the rest is counted and digested.

    One thread feeds; any thread may read. Memory stays within the cap and one read.
    """

    def __init__(self, cap_bytes: int) -> None:
        """Keep half of ``cap_bytes`` (at least 2) at the head and half at the tail."""
        self._head_cap = max(cap_bytes // 2, 1)
        self._tail_cap = max(cap_bytes - self._head_cap, 1)
        self._head = bytearray()
        self._tail = bytearray()
        self._total = 0
        self._hash = hashlib.sha256()
        self._lock = threading.Lock()

    @property
    def total_bytes(self) -> int:
        """How many bytes were printed so far."""
        return self._total

    def feed(self, data: bytes) -> None:
        """Add what was just read from the stream."""
        self._hash.update(data)
        with self._lock:
            self._total += len(data)
            room = self._head_cap - len(self._head)
            if room > 0:
                self._head += data[:room]
                data = data[room:]
            if data:
                self._tail += data[-self._tail_cap :]
                excess = len(self._tail) - self._tail_cap
                if excess > 0:
                    del self._tail[:excess]

    def read(self, offset: int, limit: int) -> bytes | None:
        """Up to ``limit`` bytes from ``offset``; empty at the end, None if no longer at hand."""
        with self._lock:
            if offset < 0 or offset > self._total:
                return None
            if offset < len(self._head):
                return bytes(self._head[offset : offset + limit])
            start = offset - (self._total - len(self._tail))
            if start < 0:
                return None
            return bytes(self._tail[start : start + limit])

    def digest(self) -> bytes:
        """SHA-256 of everything that was printed, 32 bytes."""
        return self._hash.digest()

    def as_record(self) -> JsonDict:
        """The stream as a result carries it. Undropped output is all in ``head``."""
        with self._lock:
            head, tail, total = bytes(self._head), bytes(self._tail), self._total
        dropped = total - len(head) - len(tail)
        if dropped == 0:
            head, tail = head + tail, b""
        encoding, (head_text, tail_text) = encode_parts(head, tail)
        return {
            "encoding": encoding,
            "head": head_text,
            "tail": tail_text,
            "dropped_bytes": dropped,
            "total_bytes": total,
        }


def encode_parts(*parts: bytes) -> tuple[str, list[str]]:
    """Encode byte strings for JSON without altering them: as text if each is UTF-8, else base64."""
    try:
        texts = [part.decode("utf-8") for part in parts]
    except UnicodeDecodeError:
        texts = []
    if texts:
        escaped = sum(len(json.dumps(text, ensure_ascii=False).encode()) - 2 for text in texts)
        if escaped <= _LARGEST_ESCAPING * sum(len(part) for part in parts):
            return ENCODING_TEXT, texts
    return ENCODING_BASE64, [base64.b64encode(part).decode("ascii") for part in parts]


def whole_characters(data: bytes) -> bytes:
    """``data`` without a character that is cut off at its end, so that a live chunk stays text."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        width = 2 if byte >= 0xC0 and byte < 0xE0 else 3 if byte < 0xF0 else 4
        if byte >= 0xC0 and width > back and back < len(data):
            return data[:-back]
        return data
    return data


def combined_digest(stdout: bytes, stderr: bytes) -> str:
    """The ``output_digest`` of a result from the raw SHA-256 of both streams."""
    return hashlib.sha256(stdout + stderr).hexdigest()
