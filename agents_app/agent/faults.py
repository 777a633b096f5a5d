"""Named points at which tests make the agent fail, chosen by ``DM_AGENT_FAULT=name`` or ``name:n``.

Without that variable every function here does nothing. Points: ``after_journal_before_start``,
``after_mark_before_start``, ``after_start_before_ack``, ``after_result_journaled``,
``drop_report_answer`` (n answers are thrown away) and ``drop_poll_answer`` (likewise).
"""

from __future__ import annotations

import os
import threading

EXIT_STATUS = 137

_lock = threading.Lock()
_name, _, _count = os.environ.get("DM_AGENT_FAULT", "").partition(":")
_left = [int(_count) if _count.isdigit() else 1]


def exit_at(point: str) -> None:
    """End the process at once, as kill -9 would, if this point was chosen."""
    if point == _name:
        os._exit(EXIT_STATUS)


def drops(point: str) -> bool:
    """Whether the answer at hand is to be treated as lost. True for the first n calls."""
    if point != _name:
        return False
    with _lock:
        _left[0] -= 1
        return _left[0] >= 0
