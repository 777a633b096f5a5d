"""What running commands print, for viewers: chunks in order, sent when there is time, never queued.

A chunk is read from the stream's head or tail when it is sent, so live output needs no memory of
its own; a stream that prints faster than it can be sent falls out of both and stops being shown.
"""

from __future__ import annotations

import dataclasses
import threading
import time

from agents_app.agent.messages import Configuration
from agents_app.agent.output import Capture, JsonDict, encode_parts, whole_characters
from agents_app.protocol import VERDICT_ACCEPTED, VERDICT_GAP

# A gap that comes back at the same place this often will not close.
MOST_GAPS = 3


@dataclasses.dataclass
class _Stream:
    fence: str
    name: str
    capture: Capture
    offset: int = 0
    gaps: int = 0
    stopped: bool = False

    def pending(self) -> bool:
        return not self.stopped and self.capture.total_bytes > self.offset


@dataclasses.dataclass(frozen=True)
class Chunk:
    """One piece of one stream, and where the next one would begin."""

    fence: str
    stream: str
    end: int
    message: JsonDict


class LiveFeed:
    """The streams of the commands that run. Safe to use from several threads."""

    def __init__(self) -> None:
        """Nothing runs yet."""
        self.configuration = Configuration()
        self._lock = threading.Lock()
        self._streams: dict[tuple[str, str], _Stream] = {}
        self._due_at: float | None = None

    def add(self, fence: str, captures: dict[str, Capture]) -> None:
        """A command was started."""
        with self._lock:
            for name, capture in captures.items():
                self._streams[fence, name] = _Stream(fence, name, capture)

    def remove(self, fence: str) -> None:
        """A command ended: the result carries what is worth keeping."""
        with self._lock:
            for key in [key for key in self._streams if key[0] == fence]:
                del self._streams[key]

    def output_came(self) -> bool:
        """Note new output; True if that started the wait for the next sending."""
        with self._lock:
            if self._due_at is not None:
                return False
            self._due_at = time.monotonic() + self.configuration.live_interval_seconds
            return True

    def seconds_until_due(self) -> float | None:
        """How long until there is something to send; None while nothing is."""
        due_at = self._due_at
        return None if due_at is None else max(due_at - time.monotonic(), 0.0)

    def collect(self, *, limit: int, limit_bytes: int) -> list[Chunk]:
        """The next chunk of each stream that has one. Nothing moves until ``settle``."""
        chunks: list[Chunk] = []
        with self._lock:
            for stream in self._streams.values():
                if len(chunks) == limit or limit_bytes < self.configuration.live_chunk_bytes:
                    break
                if stream.pending():
                    chunk = self._chunk(stream)
                    if chunk is not None:
                        chunks.append(chunk)
                        limit_bytes -= 2 * self.configuration.live_chunk_bytes
            more = any(stream.pending() for stream in self._streams.values())
            interval = self.configuration.live_interval_seconds
            self._due_at = time.monotonic() + interval if more else None
        return chunks

    def _chunk(self, stream: _Stream) -> Chunk | None:
        data = stream.capture.read(stream.offset, self.configuration.live_chunk_bytes)
        if data is None:
            stream.stopped = True
            return None
        data = whole_characters(data)
        encoding, (text,) = encode_parts(data)
        message: JsonDict = {
            "fence": stream.fence,
            "stream": stream.name,
            "offset": stream.offset,
            "encoding": encoding,
            "data": text,
        }
        return Chunk(stream.fence, stream.name, stream.offset + len(data), message)

    def settle(self, chunk: Chunk, verdict: object, offset: object) -> None:
        """Apply the server's answer to a chunk; anything unexpected stops the stream."""
        with self._lock:
            stream = self._streams.get((chunk.fence, chunk.stream))
            if stream is None:
                return
            place = offset if isinstance(offset, int) and offset >= 0 else chunk.end
            if verdict == VERDICT_ACCEPTED:
                stream.gaps = 0 if place > stream.offset else stream.gaps + 1
                stream.offset = place
            elif verdict == VERDICT_GAP:
                stream.gaps += 1
                stream.offset = place
            else:
                stream.stopped = True
            if stream.gaps >= MOST_GAPS:
                stream.stopped = True

    def stop_stream(self, chunk: Chunk) -> None:
        """Send nothing more of the chunk's stream."""
        self.settle(chunk, None, None)
