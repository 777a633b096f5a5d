"""Keeps what viewers saw of commands that ended without a result: killed agents, lost hosts.

The live store has it for an hour; a restarted agent has it no more. What came after the last chunk
is not known, and nothing claims to be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings

from tasks_app import live_output
from tasks_app.queue.seen_output import keep_seen_output, rows_without_output
from tasks_app.records import StreamOutput

if TYPE_CHECKING:
    from uuid import UUID

_ROWS = 500


def keep_seen_outputs() -> int:
    """Keep what the live store has of rows that ended unknown lately; return of how many."""
    kept = 0
    rows = rows_without_output(seconds=live_output.KEPT_SECONDS, limit=_ROWS)
    while rows:
        stored = live_output.stored(row.fence for row in rows)
        for row in rows:
            if row.fence not in stored:
                continue
            stdout, stderr = (_seen(row.fence, stream) for stream in live_output.STREAMS)
            if stdout.head or stderr.head:
                keep_seen_output(row=row.id, fence=row.fence, stdout=stdout, stderr=stderr)
                kept += 1
        more = len(rows) == _ROWS
        seconds = live_output.KEPT_SECONDS
        rows = rows_without_output(seconds=seconds, limit=_ROWS, before=rows[-1].id) if more else []
    return kept


def _seen(fence: UUID, stream: str) -> StreamOutput:
    data = live_output.read_whole(fence, stream)
    cap = settings.DM_OUTPUT_CAP_BYTES
    if len(data) <= cap:
        return StreamOutput(data)
    return StreamOutput(data[: cap // 2], data[-(cap // 2) :], len(data) - cap // 2 * 2)
