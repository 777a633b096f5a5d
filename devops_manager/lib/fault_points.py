"""Named points at which tests make a server process fail, chosen by ``DM_FAULT=name[:n]``.

The n-th time (the first, unless said) that a process comes to its point it ends as by kill -9, or
stops as by SIGSTOP. Each process counts for itself, a forked one goes on with its parent's count.
Without the variable ``CHOSEN`` is empty and ``reach`` does nothing. An unknown name stops the
process at its start, as every wrong setting does: settings.py imports this module.

Some points fail every time that they are reached with a name (a fence, a host's id) which stands in
the file that ``DM_FAULT_NAMES`` gives: a test learns these names only while the process runs.
"""

from __future__ import annotations

import itertools
import os
import signal
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

from devops_manager import env

EXIT_STATUS = 137

_EXIT, _STOP, _HANG = "exit", "stop", "hang"
POINTS = {
    # commands were claimed and committed, the poll is not answered
    "gateway_exit_after_claim": _EXIT,
    "gateway_stop_after_claim": _STOP,
    # results were judged and committed, the report is not answered
    "gateway_exit_after_report": _EXIT,
    # the rows of a window are made and counted, nothing of it is committed
    "fan_out_exit_in_window": _EXIT,
    # a window is committed, its hosts are not woken, the next one is not begun
    "fan_out_exit_after_window": _EXIT,
    # overdue rows were ended and committed; wakes, caches and admission have not followed
    "sweep_exit_after_expiry": _EXIT,
    # a result, a poll is taken in, by the fence or the host's id
    "gateway_exit_on_result": _EXIT,
    "gateway_hang_on_result": _HANG,
    "gateway_exit_on_poll": _EXIT,
}


def parse(text: str) -> tuple[str, int]:
    """Return the point and the n of ``name[:n]``; no point for an empty text.

    Raises ImproperlyConfigured for a name that is no point and an n that is no number from 1.
    """
    name, colon, times = text.partition(":")
    if text and name not in POINTS:
        raise ImproperlyConfigured(f"DM_FAULT must be one of {', '.join(POINTS)}, not {name!r}")
    if colon and not (name and times.isdecimal() and int(times) > 0):
        raise ImproperlyConfigured(f"DM_FAULT must be name or name:n with n from 1, not {text!r}")
    return name, int(times or 1)


CHOSEN, _time = parse(env.text("DM_FAULT", ""))
_NAMES = Path(env.text("DM_FAULT_NAMES", ""))
_visits = itertools.count(1)


def reach(point: str) -> None:
    """Fail here, if this is the chosen point and its time has come."""
    if point == CHOSEN and next(_visits) == _time:
        _fail(point)


def reach_with(point: str, name: object) -> None:
    """Fail here each time, if this is the chosen point and the name is among those chosen."""
    if point == CHOSEN and str(name) in _NAMES.read_text(encoding="utf-8").split():
        _fail(point)


def _fail(point: str) -> None:
    # Not by a logger: its locks may be held, and its handlers may be asked to wait.
    os.write(2, f"fault point {point} in process {os.getpid()}\n".encode())
    if POINTS[point] == _STOP:
        os.kill(os.getpid(), signal.SIGSTOP)
    elif POINTS[point] == _HANG:
        while True:
            pass
    else:
        os._exit(EXIT_STATUS)
