"""Decodes ``report``: as a whole where that works, else entry by entry.

One malformed result costs only itself: an agent sends a result until it has a verdict on it, so a
report that was refused for one entry would hold up its neighbours for ever. A body that is no JSON,
or whose entries cannot be told apart, is still refused as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import msgspec

from agents_app.gateway import messages
from agents_app.gateway.http import Problem
from agents_app.gateway.strict_json import decode, problem_of

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

_DETAIL_CHARACTERS = 300


class Malformed(msgspec.Struct, frozen=True):
    """An entry that cannot be read: which one, why, and whose it is if it says so legibly."""

    index: int
    fence: UUID | None
    stream: str | None
    detail: str


class Report(msgspec.Struct, frozen=True):
    """A report, each entry in its place."""

    results: Sequence[messages.ResultMessage | Malformed]
    output: Sequence[messages.ChunkMessage | Malformed]


class _Fenced(msgspec.Struct):
    fence: UUID


class _Streamed(msgspec.Struct):
    stream: messages.StreamName


_FENCED = msgspec.json.Decoder(_Fenced)
_STREAMED = msgspec.json.Decoder(_Streamed)
# What reading one entry may meet.
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def decode_report(body: bytes) -> Report:
    """Return what a report says. Raises Problem (400) for a body that has no entries to read."""
    try:
        whole = decode(body, messages.REPORT)
    except Problem:
        unread = decode(body, messages.UNREAD_REPORT)
    else:
        return Report(whole.results, whole.output)
    results = _entries(messages.RESULT, unread.results)
    output = _entries(messages.CHUNK, unread.output)
    return Report(results, output)


def fences_of(report: Report) -> list[UUID]:
    """Return the fences of the results that can be read."""
    return [item.fence for item in report.results if isinstance(item, messages.ResultMessage)]


def _entries(
    decoder: msgspec.json.Decoder[T], entries: Sequence[msgspec.Raw]
) -> list[T | Malformed]:
    read: list[T | Malformed] = []
    for at, raw in enumerate(entries):
        one = _entry(decoder, raw, at)
        read.append(one)
    return read


def _entry(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw, index: int) -> T | Malformed:
    try:
        return decoder.decode(raw)
    except _UNREADABLE as error:
        fenced, streamed = _part(_FENCED, raw), _part(_STREAMED, raw)
        return Malformed(
            index=index,
            fence=fenced.fence if fenced else None,
            stream=streamed.stream if streamed else None,
            detail=_detail(error),
        )


def _part(decoder: msgspec.json.Decoder[T], raw: msgspec.Raw) -> T | None:
    try:
        return decoder.decode(raw)
    except _UNREADABLE:
        return None


def _detail(error: Exception) -> str:
    if not isinstance(error, msgspec.ValidationError):
        return "this entry cannot be read"
    problem = problem_of(error)
    return f"{problem.field}: {problem.field_text}"[:_DETAIL_CHARACTERS]
