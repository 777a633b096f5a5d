"""What ends ``make run`` early, in words for the person at the terminal."""

from __future__ import annotations


class StandaloneError(Exception):
    """The run cannot go on, or did not come out as expected; the message says why."""


class Interrupted(Exception):
    """SIGINT, SIGTERM or SIGHUP arrived."""
