"""The faults: how each is done to the running processes, and how it is undone."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Sequence
from functools import partial

import psutil
import psycopg
import redis

from tests.chaos.plan import PROCESSES, Fault
from tests.chaos.world import ChaosStack
from tests.proxy import Proxy

Undo = Callable[[], None]

_EVERYBODY = "everybody"
_END_CONNECTIONS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND (%(name)s = 'devops-manager-everybody' OR application_name = %(name)s)
"""
_BACKENDS = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = %(type)s
    ORDER BY pid
"""


class NothingToBreak(Exception):
    """What the fault would break is not there at the moment."""


class Breaker:
    """Breaks and mends. Use from the main thread only: it starts processes."""

    def __init__(self, stack: ChaosStack) -> None:
        """Nothing is broken yet."""
        self._stack = stack
        # Processes that are meant to be away now.
        self.away: set[str] = set()

    def inflict(self, fault: Fault) -> Undo:
        """Do it, and return how it is undone. Raises NothingToBreak."""
        if fault.target in ("redis", "postgres"):
            how = getattr(self, f"_{fault.target}_{fault.kind.replace(' ', '_')}")
        else:
            how = getattr(self, f"_{fault.kind.replace(' ', '_')}")
        undo: Undo = how(fault)
        return undo

    # --- processes of the product --------------------------------------------------------------

    def _kill(self, fault: Fault) -> Undo:
        self.away.add(fault.target)
        self._stack.kill_process(fault.target)
        return partial(self._start, fault.target)

    def _stop(self, fault: Fault) -> Undo:
        """TERM, without waiting: it ends while other things break."""
        process = self._running(fault.target)
        self.away.add(fault.target)
        process.terminate()
        return partial(self._start, fault.target)

    def _start(self, name: str) -> None:
        self.away.discard(name)
        self._stack.stop_process(name)  # what has not ended by now is ended
        self._stack.start_process(name)

    def _pause(self, fault: Fault) -> Undo:
        """SIGSTOP, all of its processes; but not the commands of an agent."""
        group = self._running(fault.target).pid
        os.killpg(group, signal.SIGSTOP)
        return partial(_go_on, group)

    def _kill_child(self, fault: Fault) -> Undo:
        parent = psutil.Process(self._running(fault.target).pid)
        pids = [child.pid for child in parent.children() if _is_a_worker(child)]
        os.kill(_picked(pids, fault.pick), signal.SIGKILL)
        return _mends_itself

    def _running(self, name: str) -> psutil.Process:
        process = self._stack.child(name).process
        if process is None or process.poll() is not None:
            raise NothingToBreak
        return psutil.Process(process.pid)

    # --- lines ---------------------------------------------------------------------------------

    def _cut(self, fault: Fault) -> Undo:
        lines = self._stack.lines_of(fault.target)
        _for_each(lines, Proxy.cut)
        return partial(_for_each, lines, Proxy.restore)

    def _freeze(self, fault: Fault) -> Undo:
        lines = self._stack.lines_of(fault.target)
        _for_each(lines, Proxy.freeze)
        return partial(_for_each, lines, Proxy.thaw)

    # --- PostgreSQL ----------------------------------------------------------------------------

    def _end_connections(self, fault: Fault) -> Undo:
        ended = self._ask(_END_CONNECTIONS, name=f"devops-manager-{fault.target}")
        if not ended:
            raise NothingToBreak
        return _mends_itself

    def _postgres_crash(self, _fault: Fault) -> Undo:
        self._stack.servers.postgres.stop_immediate()
        return self._stack.servers.postgres.start

    def _postgres_stop(self, _fault: Fault) -> Undo:
        self._stack.servers.postgres.stop()
        return self._stack.servers.postgres.start

    def _postgres_kill_child(self, fault: Fault) -> Undo:
        """Kill -9 one connection's process: PostgreSQL ends all others and recovers."""
        pids = self._ask(_BACKENDS, type="client backend")
        os.kill(_picked(pids, fault.pick), signal.SIGKILL)
        return _mends_itself

    def _ask(self, query: str, **values: str) -> list[int]:
        try:
            with psycopg.connect(self._stack.servers.database_url, autocommit=True) as connection:
                return [row[0] for row in connection.execute(query.encode(), values)]
        except psycopg.OperationalError as error:  # it recovers from the fault before
            raise NothingToBreak from error

    # --- Redis ---------------------------------------------------------------------------------

    def _redis_kill(self, _fault: Fault) -> Undo:
        os.kill(self._stack.servers.redis.pid, signal.SIGKILL)
        return self._restart_redis

    def _redis_stop(self, _fault: Fault) -> Undo:
        self._stack.servers.redis.stop()
        return self._restart_redis

    def _restart_redis(self) -> None:
        self._stack.servers.redis.stop()
        self._stack.servers.redis.start()

    def _redis_pause(self, _fault: Fault) -> Undo:
        pid = self._stack.servers.redis.pid
        os.kill(pid, signal.SIGSTOP)
        return partial(os.kill, pid, signal.SIGCONT)

    def _redis_empty(self, _fault: Fault) -> Undo:
        with redis.Redis.from_url(self._stack.servers.redis_url) as client:
            client.flushall()
        return _mends_itself

    # --- what systemd would do -----------------------------------------------------------------

    def restart_dead(self) -> list[tuple[str, int]]:
        """Start again what ended by itself; return the names with their exit statuses."""
        dead = []
        for name in PROCESSES:
            status = self._stack.child(name).exit_status
            if name not in self.away and status is not None:
                dead.append((name, status))
                self._start(name)
        return dead


def _mends_itself() -> None:
    """Undo what needs no undoing."""


def _for_each(lines: list[Proxy], act: Callable[[Proxy], None]) -> None:
    for line in lines:
        act(line)


def _go_on(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it was killed by other means
        os.killpg(group, signal.SIGCONT)


def _picked(pids: Sequence[int], pick: float) -> int:
    if not pids:
        raise NothingToBreak
    return pids[min(int(pick * len(pids)), len(pids) - 1)]


def _is_a_worker(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
