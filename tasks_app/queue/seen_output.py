"""Finds rows that ended without a result, and keeps what viewers saw of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tasks_app.queue.statements import in_transaction, run

if TYPE_CHECKING:
    from uuid import UUID

    from tasks_app.records import StreamOutput

_NO_ID = 2**62


@in_transaction
def rows_without_output(*, seconds: float, limit: int, before: int = _NO_ID) -> list[Any]:
    """Return rows (id, attempt, fence) that ended unknown within ``seconds``, newest first."""
    return run("live_output_find", seconds=seconds, limit=limit, before=before)


@in_transaction
def keep_seen_output(*, row: int, fence: UUID, stdout: StreamOutput, stderr: StreamOutput) -> None:
    """Keep both streams as a row's output, unless a result came meanwhile."""
    run(
        "live_output_keep",
        row=row,
        fence=fence,
        stdout_head=stdout.head,
        stdout_tail=stdout.tail,
        stdout_dropped=stdout.dropped_bytes,
        stderr_head=stderr.head,
        stderr_tail=stderr.tail,
        stderr_dropped=stderr.dropped_bytes,
    )
