"""What can go wrong with an embedded server, in words for the person at the terminal."""

from __future__ import annotations


class EmbeddedError(Exception):
    """A private server cannot be had; the message says why and what to do."""
