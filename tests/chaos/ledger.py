"""What the server promised to its clients while things broke: every 2xx, to be held against it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime

# A row's last word: its state, exit code and end, as a client was shown them.
LastWord = tuple[str, int | None, datetime]
# An agent's late word may replace only what the server inferred from silence.
FINAL = frozenset({"completed", "failed", "timeout"})


@dataclass(slots=True)
class Promised:
    """One task that the server said exists, and what else it said of it. Times are Unix seconds."""

    task_id: str
    name: str
    started_at: float | None = None
    ended_at: dict[str, float] = field(default_factory=dict)
    deleted: bool = False
    last_words: dict[tuple[str, int], LastWord] = field(default_factory=dict)


class Ledger:
    """What all clients together were promised, and what they saw that must not be. Thread-safe."""

    def __init__(self) -> None:
        """Nothing was promised yet."""
        self._lock = threading.Lock()
        self.tasks: dict[str, Promised] = {}
        # Names of tasks whose creation was asked for once, without a key, and never answered.
        self.perhaps: set[str] = set()
        self.counts: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.violations: list[str] = []

    def count(self, what: str, number: int = 1) -> None:
        """Count something that the load did."""
        with self._lock:
            self.counts[what] += number

    def answer(self, status: str) -> None:
        """Count an answer by its status."""
        with self._lock:
            self.answers[status] += 1

    def violation(self, text: str) -> None:
        """Keep what must not be, with the time of day."""
        with self._lock:
            self.violations.append(f"{time.strftime('%H:%M:%S')} {text}")

    def created(self, task_id: str, name: str) -> Promised:
        """Note a task that was created."""
        with self._lock:
            self.counts["created"] += 1
            return self.tasks.setdefault(task_id, Promised(task_id, name))

    def unknown(self, name: str) -> None:
        """Note a task that may or may not have been created."""
        with self._lock:
            self.perhaps.add(name)

    def saw_row(self, promised: Promised, key: tuple[str, int], word: LastWord) -> None:
        """Note the last word on a row; a second one that differs is a violation."""
        before = promised.last_words.setdefault(key, word)
        if before != word:
            self.violation(f"{promised.task_id} {key}: was {before}, and later {word}")
