"""The API's states in the words, and the language, of the person at the terminal."""

from __future__ import annotations

from devops_manager.embedded.language import gettext as _


def task_state(status: str) -> str:
    """Return a task's status in words; an unknown one as it is."""
    words = {
        "pending": _("Not started"),
        "queued": _("Queued"),
        "running": _("Running"),
        "paused": _("Paused"),
        "completed": _("Completed"),
        "partial": _("Partly completed"),
        "failed": _("Failed"),
        "canceled": _("Canceled"),
    }
    return words.get(status, status)


def row_state(status: str) -> str:
    """Return the state of one command on one host in words; an unknown one as it is."""
    words = {
        "blocked": _("Waiting for an earlier step"),
        "pending": _("Waiting to run"),
        "claimed": _("Delivered"),
        "running": _("Running on the host"),
        "completed": _("Completed successfully"),
        "failed": _("Execution failed"),
        "timeout": _("Timed out"),
        "dispatch_failed": _("Could not be delivered"),
        "canceled": _("Execution canceled"),
        "interrupted": _("Interrupted"),
        "lost": _("Outcome unknown"),
        "skipped": _("Skipped"),
    }
    return words.get(status, status)
