"""Where a task stands, in figures and in honest words about what is not known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from devops_manager.lib.errors import InvalidInput
from devops_manager.pages.live import follow_task, next_cursor, pace_of, version_of
from devops_manager.pages.reasons import reason
from devops_manager.pages.terminal_text import inert_text
from tasks_app.selectors.tasks import task_detail
from tasks_app.services.ownership import may_change
from tasks_app.states import TASK_TERMINAL, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from django.http import HttpRequest

    from devops_manager.access.actors import Actor
    from tasks_app.selectors.shapes import (
        CommandDetail,
        CommandProgress,
        TaskDetail,
        TaskProgress,
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """A task's progress, and what a person should know about it."""

    progress: TaskProgress
    in_flight: int
    waiting: int
    notes: Sequence[str]

    @property
    def steps(self) -> Sequence[CommandProgress]:
        """Return the steps with their counts."""
        return self.progress.commands

    @property
    def open_hosts(self) -> int:
        """Return how many hosts have no outcome yet."""
        return max(0, self.progress.total_hosts - self.progress.ended_hosts)


@dataclass(frozen=True, slots=True)
class Shown:
    """A task as its pages show it.

    ``mine``: the person may start, stop and change it. ``same``: the open page that asks has its
    rows already.
    """

    task: TaskDetail
    standing: Standing
    mine: bool
    same: bool


def load_task(request: HttpRequest, actor: Actor, task_id: UUID) -> Shown:
    """Return a task as its pages show it. Raises NotFound.

    Progress is read first: its cursor must not be younger than what is shown.
    """
    progress, same = follow_task(request, task_id)
    task = task_detail(task_id=task_id, reader=actor)
    # Pages are for people, whose actor's name is their user name.
    owner = actor.user_id if task.created_by == actor.name else None
    return Shown(
        task=task,
        standing=standing_of(task, progress),
        mine=may_change(actor=actor, created_by_id=owner),
        same=same,
    )


def task_context(shown: Shown, tab: str) -> dict[str, Any]:
    """Return what every page of a task needs."""
    return {
        "section": "tasks",
        "tab": tab,
        "task": shown.task,
        "standing": shown.standing,
        "progress": shown.standing.progress,
        "cursor": next_cursor(shown.standing.progress),
        "version": version_of(shown.standing.progress),
        "every": pace_of(shown.standing.progress),
        "same": shown.same,
        "mine": shown.mine,
        "live": shown.task.status not in TASK_TERMINAL,
    }


def step_asked(request: HttpRequest, task: TaskDetail) -> CommandDetail:
    """Return the step that ``?step=`` names by its position, the first one when left out.

    Raises InvalidInput naming ``step``.
    """
    text = request.GET.get("step", "") or "1"
    for command in task.commands:
        if str(command.position) == text:
            return command
    raise InvalidInput(_("This task has no such step."), fields={"step": [_("No such step.")]})


def standing_of(task: TaskDetail, progress: TaskProgress) -> Standing:
    """Return how a task stands now."""
    rows = [step.rows for step in progress.commands]
    in_flight = sum(counts["claimed"] + counts["running"] for counts in rows)
    waiting = sum(counts["blocked"] + counts["pending"] for counts in rows)
    return Standing(
        progress=progress,
        in_flight=in_flight,
        waiting=waiting,
        notes=_notes(task, progress, in_flight),
    )


def _notes(task: TaskDetail, progress: TaskProgress, in_flight: int) -> list[str]:
    notes: list[str] = []
    ended = progress.status in TASK_TERMINAL
    if progress.status == TaskStatus.QUEUED:
        notes.append(_("As many tasks run as may at once; this one starts when one of them ends."))
    if not ended and task.cancel_requested_at:
        notes.append(_cancel_note(in_flight))
    elif not ended and task.stop_requested_at:
        notes.append(
            ngettext(
                "Stop requested: nothing new is handed out; %(count)d command still runs.",
                "Stop requested: nothing new is handed out; %(count)d commands still run.",
                in_flight,
            )
            % {"count": in_flight}
        )
    if progress.lost_hosts:
        notes.append(
            ngettext(
                "%(count)d host: outcome unknown. The command was delivered, then nothing more "
                "was heard in time. It may have run, or run still; it is not run again by itself. "
                "If the host reports later, its result takes the place of this.",
                "%(count)d hosts: outcome unknown. The command was delivered, then nothing more "
                "was heard in time. It may have run, or run still; it is not run again by itself. "
                "If a host reports later, its result takes the place of this.",
                progress.lost_hosts,
            )
            % {"count": progress.lost_hosts}
        )
    if sum(step.rows["interrupted"] for step in progress.commands):
        notes.append(
            _(
                "Interrupted: the agent or the host restarted while the command ran. It runs no "
                "longer; how far it came is not known."
            )
        )
    if task.left_out:
        notes.append(_left_out_note(task))
    if task.error_code or task.error_message:
        notes.append(" ".join(filter(None, reason(task.error_code, task.error_message))))
    return notes


def _left_out_note(task: TaskDetail) -> str:
    names = [inert_text(host.hostname) for host in task.left_out]
    if task.left_out_hosts > len(names):
        names.append(_("and %(count)d more") % {"count": task.left_out_hosts - len(names)})
    return ngettext(
        "%(count)d host was left out, for the grant of the task's creator was revoked: %(names)s",
        "%(count)d hosts were left out, for grants of the task's creator were revoked: %(names)s",
        task.left_out_hosts,
    ) % {"count": task.left_out_hosts, "names": ", ".join(names)}


def _cancel_note(in_flight: int) -> str:
    if not in_flight:
        return _("Cancel requested.")
    return ngettext(
        "Cancel requested; %(count)d command has not confirmed. Until it does, it may still run.",
        "Cancel requested; %(count)d commands have not confirmed. Until they do, they may still "
        "run.",
        in_flight,
    ) % {"count": in_flight}
