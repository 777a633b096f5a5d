"""The table of a benchmark: each figure beside its floor and its target, as text and Markdown."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

HEAD = ("what", "figure", "floor", "of the floor", "target", "met", "aim", "reached")
FLOOR_HEAD = ("floor", "figure", "how")


@dataclass(frozen=True)
class Goal:
    """What a figure should come to: a limit of its own, and a share of its floor's speed."""

    limit: float | None = None
    share: float | None = None

    def met(self, target: Target) -> bool:
        """Tell whether a figure comes to this."""
        if self.limit is not None:
            beyond = target.value - self.limit
            if (beyond < 0) if target.more_is_better else (beyond > 0):
                return False
        if self.share is None:
            return True
        return target.share is not None and target.share >= self.share

    def in_words(self, target: Target) -> str:
        """Return the goal as the table shows it."""
        sign = "≥" if target.more_is_better else "≤"
        words = [] if self.limit is None else [f"{sign} {amount(self.limit, target.unit)}"]
        if self.share is not None:
            words.append(f"≥ {self.share:.0%} of the floor")
        return ", ".join(words)


@dataclass(frozen=True)
class Floor:
    """What the machine can do without us, in the same unit as the figures held against it.

    ``count`` is how many things the figure is for.
    """

    name: str
    value: float
    unit: str
    how: str
    count: int = 1


@dataclass(frozen=True)
class Target:
    """One figure of ours."""

    name: str
    value: float
    unit: str
    goal: Goal
    aim: Goal | None = None
    floor: float | None = None
    more_is_better: bool = False

    @property
    def share(self) -> float | None:
        """How fast it is, 1 being as fast as the floor."""
        if not self.floor or not self.value:
            return None
        return self.value / self.floor if self.more_is_better else self.floor / self.value


def amount(value: float, unit: str) -> str:
    """Return a figure with three digits or more, and its unit."""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:,.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{text} {unit}".strip()


def rows_of(targets: Sequence[Target]) -> list[tuple[str, ...]]:
    """Return the cells of the targets' table."""
    return [
        (
            target.name,
            amount(target.value, target.unit),
            "–" if target.floor is None else amount(target.floor, target.unit),
            "–" if target.share is None else f"{target.share:.0%}",
            target.goal.in_words(target),
            _yes(target.goal, target),
            "–" if target.aim is None else target.aim.in_words(target),
            "–" if target.aim is None else _yes(target.aim, target),
        )
        for target in targets
    ]


def _yes(goal: Goal, target: Target) -> str:
    return "yes" if goal.met(target) else "no"


def floor_rows(floors: Sequence[Floor]) -> list[tuple[str, ...]]:
    """Return the cells of the floors' table."""
    return [(floor.name, amount(floor.value, floor.unit), floor.how) for floor in floors]


def as_markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table for a page."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def as_text(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table for a terminal."""
    lines = [list(head), *map(list, rows)]
    widths = [max(_width(line[at]) for line in lines) for at in range(len(head))]
    return "\n".join(
        "  ".join(
            cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)
