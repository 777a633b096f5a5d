"""Pages that follow what happens: static/js/follow.js asks for the page again, this answers.

The page's own address answers with its content alone (templates/live.html): no messages, which
belong to the page that a person loads next, and no menu. Elements with ``data-live`` are put in
place by their ids; a region that is left out of the answer stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from devops_manager.lib.errors import InvalidInput
from tasks_app.selectors.progress import parse_cursor, task_progress
from tasks_app.states import TASK_TERMINAL, TaskStatus

if TYPE_CHECKING:
    from uuid import UUID

    from django.http import HttpRequest

    from tasks_app.selectors.progress import Cursor
    from tasks_app.selectors.shapes import TaskProgress

HEADER = "X-Live"
# Milliseconds between two questions; 0: nothing can change any more.
WHILE_RUNNING = 1500
OTHERWISE = 5000
AFTER_THE_END = 30_000
NEVER = 0
_CHANGED_AT_MOST = 1


def is_following(request: HttpRequest) -> bool:
    """Tell whether the page's script asks, for what changed."""
    return HEADER in request.headers


def frame_of(request: HttpRequest) -> str:
    """Return the template that a page extends."""
    return "live.html" if is_following(request) else "base.html"


def follow_task(request: HttpRequest, task_id: UUID) -> tuple[TaskProgress, bool]:
    """Return a task's progress, and whether its rows stand as the asking page shows them.

    The header brings the cursor and the revision of the last answer; one that cannot be read is
    taken for a first question. Raises NotFound.
    """
    cursor, _slash, revision = request.headers.get(HEADER, "").partition("/")
    seen = _cursor(cursor)
    progress = task_progress(task_id=task_id, cursor=seen, limit=_CHANGED_AT_MOST)
    same = seen is not None and not progress.changed and revision == version_of(progress)
    return progress, same


def version_of(progress: TaskProgress) -> str:
    """Return what differs when a list of the task's rows does, but for the rows themselves."""
    return f"{progress.revision}.{progress.status}"


def _cursor(text: str) -> Cursor | None:
    try:
        return parse_cursor(text) if text else None
    except InvalidInput:
        return None


def next_cursor(progress: TaskProgress) -> str:
    """Return where the page stands after this answer.

    Only whether anything moved is asked: the rest of a long answer is not read.
    """
    following = parse_cursor(progress.cursor)
    return str(following.upcoming or following.since)


def pace_of(progress: TaskProgress) -> int:
    """Return how often a task's pages ask.

    An ended task whose outcome is unknown on some hosts may yet hear from them.
    """
    if progress.status not in TASK_TERMINAL:
        return OTHERWISE if progress.status == TaskStatus.PENDING else WHILE_RUNNING
    return AFTER_THE_END if progress.lost_hosts else NEVER
