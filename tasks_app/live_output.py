"""Live output of running commands: kept in Redis for viewers, for an hour, and worth losing.

``dm:live:{fence}:{stream}`` is a string with the bytes from the first on, without gaps. The
gateways append, pages and the API read. What is kept for good comes with the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import redis
import redis.asyncio
from django.conf import settings
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

STREAMS = ("stdout", "stderr")
KEPT_SECONDS = 3600
READ_BYTES = 262_144
_TIMEOUT_SECONDS = 1.0

ACCEPTED = "accepted"
GAP = "gap"
CONFLICT = "conflict"
FULL = "full"

# Appends exactly where the last chunk ended, in one step. A chunk that begins earlier must repeat
# the same bytes (an answer was lost, or chunks were cut anew); what it has beyond is appended.
_APPEND = """
local stored = redis.call('STRLEN', KEYS[1])
local offset, data = tonumber(ARGV[1]), ARGV[2]
if offset > stored then return {'gap', stored} end
local known = ''
if offset < stored and #data > 0 then
    known = redis.call('GETRANGE', KEYS[1], offset, math.min(stored, offset + #data) - 1)
end
if known ~= string.sub(data, 1, #known) then return {'conflict', stored} end
local new = string.sub(data, #known + 1)
if #new > 0 then
    if stored + #new > tonumber(ARGV[3]) then return {'full', stored} end
    stored = redis.call('APPEND', KEYS[1], new)
    redis.call('EXPIRE', KEYS[1], ARGV[4])
    return {'accepted', stored}
end
return {'accepted', offset + #data}
"""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some bytes of one stream of one attempt, and the offset of the first of them."""

    fence: UUID
    stream: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a chunk; ``offset`` is where the next one begins."""

    outcome: str
    offset: int


def key(fence: UUID, stream: str) -> str:
    """Return the key that holds a stream (``stdout`` or ``stderr``) of one attempt."""
    return f"dm:live:{fence}:{stream}"


@cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=0.5, retry=None
    )


def read(fence: UUID, stream: str, offset: int) -> tuple[bytes, int]:
    """Return at most READ_BYTES bytes of a stream from ``offset`` on, and where to read next.

    Returns no bytes and ``offset`` itself when there are none yet, no more, or Redis is away.
    """
    start = max(0, offset)
    try:
        data = _client().getrange(key(fence, stream), start, start + READ_BYTES - 1)
    except redis.RedisError:
        return b"", start
    assert isinstance(data, bytes)  # the client does not decode
    return data, start + len(data)


def read_whole(fence: UUID, stream: str) -> bytes:
    """Return all that is stored of a stream: at most DM_LIVE_OUTPUT_BYTES."""
    pieces = []
    piece, offset = read(fence, stream, 0)
    while piece:
        pieces.append(piece)
        piece, offset = read(fence, stream, offset)
    return b"".join(pieces)


def stored(fences: Iterable[UUID]) -> set[UUID]:
    """Return those of which something is stored, in one round trip; none when Redis is away."""
    asked = list(fences)
    pipeline = _client().pipeline(transaction=False)
    for fence in asked:
        pipeline.exists(*(key(fence, stream) for stream in STREAMS))
    try:
        found = pipeline.execute()
    except redis.RedisError:
        return set()
    return {fence for fence, count in zip(asked, found, strict=True) if count}


def append(chunks: Sequence[Chunk]) -> list[Appended]:
    """Append chunks in order, each in one atomic step. Raises ``redis.RedisError``."""
    pipeline = _client().pipeline(transaction=False)
    for chunk in chunks:
        pipeline.eval(_APPEND, 1, *_arguments(chunk))
    return [_appended(answer) for answer in pipeline.execute()]


def async_client() -> redis.asyncio.Redis:
    """Return a client for ``append_async``; it belongs to the event loop that uses it first."""
    return redis.asyncio.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=_TIMEOUT_SECONDS,
        socket_connect_timeout=0.5,
        retry=AsyncRetry(NoBackoff(), 0),
        max_connections=8,
    )


async def append_async(client: redis.asyncio.Redis, chunks: Sequence[Chunk]) -> list[Appended]:
    """Do the same as ``append`` without blocking an event loop."""
    pipeline = client.pipeline(transaction=False)
    for chunk in chunks:
        pipeline.eval(_APPEND, 1, *_arguments(chunk))
    return [_appended(answer) for answer in await pipeline.execute()]


def _arguments(chunk: Chunk) -> tuple[str, int, bytes, int, int]:
    return (
        key(chunk.fence, chunk.stream),
        chunk.offset,
        chunk.data,
        settings.DM_LIVE_OUTPUT_BYTES,
        KEPT_SECONDS,
    )


def _appended(answer: tuple[bytes, int]) -> Appended:
    outcome, offset = answer
    return Appended(outcome.decode(), int(offset))
