"""Why a command was not started."""

from __future__ import annotations


class StartError(Exception):
    """A command could not be started. ``code`` is the result's ``error_code``."""

    def __init__(self, code: str, message: str) -> None:
        """``message`` is for people."""
        super().__init__(message)
        self.code = code
