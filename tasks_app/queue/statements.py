"""Runs the statements of ``tasks_app/sql``; tries transactions again when PostgreSQL asks."""

from __future__ import annotations

import functools
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from django.db import connection, transaction

from devops_manager.lib import sql
from devops_manager.lib.retries import retry_transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_DIRECTORY = Path(__file__).resolve().parent.parent / "sql"

Call = tuple[str, dict[str, Any]]

P = ParamSpec("P")
R = TypeVar("R")


class _Turn(threading.local):
    """How far this thread is with a transaction of its own: ``in_transaction``'s, or nobody's.

    ``begun`` once plans were pinned, ``ended`` once the last statement went out.
    """

    own = False
    begun = True
    ended = False


_turn = _Turn()


def run(name: str, **parameters: Any) -> list[Any]:
    """Run ``tasks_app/sql/<name>.sql`` in the current transaction; return named tuples."""
    if _turn.begun and not _turn.ended:
        return sql.run(_DIRECTORY, name, parameters)
    return run_together(call(name, **parameters))[0]


def call(name: str, **parameters: Any) -> Call:
    """Return a statement to ``run_together``."""
    return name, parameters


def run_together(*calls: Call) -> list[list[Any]]:
    """Run statements that do not need each other's rows, in their order, in one round trip.

    What a batch costs is half waiting: for PostgreSQL, and after it for the interpreter, which the
    event loop has meanwhile.
    """
    return _send(calls, last=False)


def run_last(*calls: Call) -> list[list[Any]]:
    """Run statements as ``run_together`` does; the end of the transaction goes with them.

    Nothing may be run in this transaction after it. In a transaction of the caller's, it goes on.
    """
    return _send(calls, last=_turn.own and bool(calls))


def _send(calls: Sequence[Call], *, last: bool) -> list[list[Any]]:
    if _turn.ended:
        raise RuntimeError("statements after the last one of a transaction")
    pins = () if _turn.begun else (call("pin_plans"),)
    _turn.begun, _turn.ended = True, last
    return sql.run_together(_DIRECTORY, (*pins, *calls), commit=last)[len(pins) :]


def in_transaction(function: Callable[P, R]) -> Callable[P, R]:
    """Run ``function`` in a transaction, again after a deadlock or a serialisation failure.

    All its statements look rows up by key, with or without statistics (``pin_plans.sql``): a plan
    is made once a connection and then kept, so it must not depend on who came first.
    Inside a transaction of the caller's it runs once: only the outermost may run again, for only it
    starts afresh. The plans are pinned there, too, for this session keeps them.
    """
    return _in_transaction(function, pinned_first=True)


def in_hot_transaction(function: Callable[P, R]) -> Callable[P, R]:
    """Run ``function``, which runs nothing but the statements of this package, as above.

    What pins the plans goes with the first of them, and the end with ``run_last``.
    """
    return _in_transaction(function, pinned_first=False)


def _in_transaction(function: Callable[P, R], *, pinned_first: bool) -> Callable[P, R]:
    def once(*args: P.args, **kwargs: P.kwargs) -> R:
        with transaction.atomic(), _own_turn():
            if pinned_first:
                run_together()  # BEGIN goes with it
            return function(*args, **kwargs)

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        if connection.in_atomic_block:
            foreign = not _turn.own
            with _turn_of_another():
                if foreign and pinned_first:
                    run_together(call("pin_plans"))
                return function(*args, **kwargs)
        return retry_transaction(function.__name__, lambda: once(*args, **kwargs))

    return wrapped


@contextmanager
def _own_turn() -> Iterator[None]:
    _turn.own, _turn.begun = True, False
    try:
        yield
    finally:
        _turn.own, _turn.begun, _turn.ended = False, True, False


@contextmanager
def _turn_of_another() -> Iterator[None]:
    """Keep ``run_last`` from ending the transaction of a caller."""
    own, _turn.own = _turn.own, False
    try:
        yield
    finally:
        _turn.own = own
