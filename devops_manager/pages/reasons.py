"""Why a command or a task ended as it did, safe to look at: what agents say may hold anything."""

from __future__ import annotations

from devops_manager.pages.terminal_text import inert_text
from tasks_app import reasons
from tasks_app.reasons import Reason


def reason(code: str, message: str) -> Reason:
    """Return why something ended, in the reader's language, not yet escaped for HTML."""
    return reasons.reason(inert_text(code), inert_text(message))
