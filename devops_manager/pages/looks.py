"""How states look: the class of a badge and the parts of a progress bar. Words are the models'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from hosts_app.states import HostStatus
from tasks_app.states import CommandStatus, Outcome, RowStatus, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.models import TextChoices

    from tasks_app.selectors.shapes import HostCounts

# ok, bad, warn (needs a person), odd (unknown), busy (now), off (will not run), "" (waits)
_LOOKS: dict[type[TextChoices], dict[str, str]] = {
    TaskStatus: {
        TaskStatus.QUEUED: "warn",
        TaskStatus.RUNNING: "busy",
        TaskStatus.PAUSED: "warn",
        TaskStatus.COMPLETED: "ok",
        TaskStatus.PARTIAL: "warn",
        TaskStatus.FAILED: "bad",
        TaskStatus.CANCELED: "off",
    },
    CommandStatus: {
        CommandStatus.RUNNING: "busy",
        CommandStatus.COMPLETED: "ok",
        CommandStatus.PARTIAL: "warn",
        CommandStatus.FAILED: "bad",
        CommandStatus.CANCELED: "off",
    },
    RowStatus: {
        RowStatus.CLAIMED: "busy",
        RowStatus.RUNNING: "busy",
        RowStatus.COMPLETED: "ok",
        RowStatus.FAILED: "bad",
        RowStatus.TIMEOUT: "bad",
        RowStatus.DISPATCH_FAILED: "bad",
        RowStatus.CANCELED: "off",
        RowStatus.INTERRUPTED: "odd",
        RowStatus.LOST: "odd",
        RowStatus.SKIPPED: "off",
    },
    HostStatus: {
        HostStatus.PENDING: "warn",
        HostStatus.ACTIVE: "ok",
        HostStatus.DISABLED: "off",
        HostStatus.RETIRED: "off",
    },
    Outcome: {
        Outcome.FAILED: "bad",
        Outcome.LOST: "odd",
        Outcome.CANCELED: "off",
        Outcome.SKIPPED: "off",
        Outcome.COMPLETED: "ok",
    },
}
KINDS: dict[str, type[TextChoices]] = {
    "task": TaskStatus,
    "command": CommandStatus,
    "row": RowStatus,
    "host": HostStatus,
    "outcome": Outcome,
}
_OUTCOMES = (
    (Outcome.COMPLETED, "ok"),
    (Outcome.FAILED, "bad"),
    (Outcome.LOST, "odd"),
    (Outcome.CANCELED, "off"),
    (Outcome.SKIPPED, "off"),
)
_ENDED = (
    RowStatus.COMPLETED,
    RowStatus.FAILED,
    RowStatus.TIMEOUT,
    RowStatus.DISPATCH_FAILED,
    RowStatus.INTERRUPTED,
    RowStatus.LOST,
    RowStatus.CANCELED,
    RowStatus.SKIPPED,
)


@dataclass(frozen=True, slots=True)
class Badge:
    """One state as shown: its class, its word, its stable name."""

    look: str
    label: str
    name: str


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a progress bar: ``start`` and ``width`` in percent of the whole."""

    look: str
    label: str
    count: int
    start: float
    width: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A progress bar: what has ended, by outcome, of ``total``."""

    parts: tuple[Part, ...]
    ended: int
    total: int

    @property
    def percent(self) -> int:
        """Return how much has ended; 100 only when all has."""
        return self.ended * 100 // self.total if self.total else 0

    @property
    def open(self) -> int:
        """Return how many have not ended."""
        return max(0, self.total - self.ended)


def badge(kind: str, name: str) -> Badge:
    """Return how a state of a ``task``, ``command``, ``row``, ``host`` or ``outcome`` is shown."""
    choices = KINDS[kind]
    return Badge(look=_LOOKS[choices].get(name, ""), label=str(choices(name).label), name=name)


def task_bar(task: HostCounts) -> Bar:
    """Return a task's hosts by outcome."""
    counts = {
        Outcome.COMPLETED: task.completed_hosts,
        Outcome.FAILED: task.failed_hosts,
        Outcome.LOST: task.lost_hosts,
        Outcome.CANCELED: task.canceled_hosts,
        Outcome.SKIPPED: task.skipped_hosts,
    }
    return _bar(
        [(look, str(name.label), counts[name]) for name, look in _OUTCOMES], task.total_hosts
    )


def row_counts(rows: Mapping[str, int]) -> list[tuple[Badge, int]]:
    """Return a step's rows by state, states without rows left out."""
    return [(badge("row", name), rows[name]) for name in RowStatus.values if rows.get(name)]


def rows_bar(rows: Mapping[str, int]) -> Bar:
    """Return a step's rows by state as a bar; open rows are its empty rest."""
    shown = [
        (_LOOKS[RowStatus].get(name, ""), str(RowStatus(name).label), rows.get(name, 0))
        for name in _ENDED
    ]
    return _bar(shown, sum(rows.values()))


def _bar(shown: list[tuple[str, str, int]], total: int) -> Bar:
    parts: list[Part] = []
    start, ended = 0.0, 0
    for look, label, count in shown:
        if count:
            width = count * 100 / total if total else 0.0
            parts.append(Part(look, label, count, round(start, 3), round(width, 3)))
            start += width
            ended += count
    return Bar(parts=tuple(parts), ended=ended, total=total)


def span_words(milliseconds: float | None) -> str:
    """Return a length of time for people: ``350 ms``, ``12.4 s``, ``3 min 05 s``."""
    if milliseconds is None:
        return ""
    seconds = max(0.0, milliseconds / 1000)
    if seconds < 1:
        return _("%(n)d ms") % {"n": int(milliseconds)}
    if seconds < 60:
        return _("%(n).1f s") % {"n": seconds}
    minutes, rest = divmod(int(seconds), 60)
    if minutes < 60:
        return _("%(m)d min %(s)02d s") % {"m": minutes, "s": rest}
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return _("%(h)d h %(m)02d min") % {"h": hours, "m": minutes}
    return _("%(d)d days %(h)d h") % {"d": hours // 24, "h": hours % 24}
