"""What the person at the terminal sees: steps with the time, and waits that show their length."""

from __future__ import annotations

import sys
import time
from contextlib import suppress

from devops_manager.embedded.language import gettext as _

_started = time.monotonic()


def show(text: str = "") -> None:
    """Print a plain line; a terminal that was closed must not keep a run from stopping cleanly."""
    with suppress(OSError):
        print(text, flush=True)  # noqa: T201 - this is the terminal's module


def progress(text: str) -> None:
    """Print a step with the seconds since the start."""
    show(f"[{time.monotonic() - _started:6.1f} s] {text}")


class Waiting:
    """One wait: ``tick`` shows each full second of it, in place on a terminal, else as lines."""

    def __init__(self, what: str) -> None:
        """Remember what is waited for."""
        self._what = what
        self._began = time.monotonic()
        self._shown = 0
        self._in_place = sys.stdout.isatty()

    @property
    def seconds(self) -> float:
        """How long the wait has been."""
        return time.monotonic() - self._began

    def tick(self) -> None:
        """Show the wait's length, once for each second."""
        if int(self.seconds) <= self._shown:
            return
        self._shown = int(self.seconds)
        line = "           … " + _("waiting for %(what)s: %(seconds)d s") % {
            "what": self._what,
            "seconds": self._shown,
        }
        if self._in_place:
            self._overwrite(line)
        else:
            show(line)

    def done(self) -> None:
        """Leave the line of the wait."""
        if self._in_place and self._shown:
            self._overwrite("")

    @staticmethod
    def _overwrite(line: str) -> None:
        with suppress(OSError):
            sys.stdout.write(f"\r{line}\033[K")
            sys.stdout.flush()
