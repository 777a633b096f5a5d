"""What the person at the terminal sees: steps with the time, and waits that show their length."""

from __future__ import annotations

import sys
import time
from contextlib import suppress

from devops_manager.embedded.language import gettext as _


class Screen:
    """Whole lines, and on a terminal one line at the bottom that is written over in place.

    Errors of the terminal are passed over: one that was closed must not keep a run from stopping
    cleanly.
    """

    def __init__(self) -> None:
        """Start the clock."""
        self._began = time.monotonic()
        self._in_place = sys.stdout.isatty()
        self._open = False

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._began

    def line(self, text: str) -> None:
        """Print a whole line."""
        self.clear()
        self._write(f"{text}\n")

    def passing(self, text: str) -> None:
        """Show a line that the next one replaces; without a terminal it stays."""
        if not self._in_place:
            self.line(text)
            return
        self._write(f"\r{text}\033[K")
        self._open = True

    def clear(self) -> None:
        """Take the passing line away."""
        if self._open:
            self._write("\r\033[K")
            self._open = False

    @staticmethod
    def _write(text: str) -> None:
        with suppress(OSError):
            sys.stdout.write(text)
            sys.stdout.flush()


_screen = Screen()


def show(text: str = "") -> None:
    """Print a plain line."""
    _screen.line(text)


def progress(text: str) -> None:
    """Print a step with the seconds since the start."""
    show(f"[{_screen.seconds:6.1f} s] {text}")


class Waiting:
    """One wait: ``tick`` shows each full second of it."""

    def __init__(self, what: str) -> None:
        """Remember what is waited for."""
        self._what = what
        self._began = time.monotonic()
        self._shown = 0

    @property
    def seconds(self) -> float:
        """How long the wait has been."""
        return time.monotonic() - self._began

    def tick(self) -> None:
        """Show the wait's length, once for each second."""
        if int(self.seconds) <= self._shown:
            return
        self._shown = int(self.seconds)
        detail = {"what": self._what, "seconds": self._shown}
        _screen.passing("           … " + _("waiting for %(what)s: %(seconds)d s") % detail)

    def done(self) -> None:
        """Take the line of the wait away."""
        _screen.clear()
