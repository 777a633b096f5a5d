"""One client's connection, and how long it may stay as it is."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any

from devops_manager.web_server.outbox import Outbox
from devops_manager.web_server.requests import RequestReader

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator, Mapping

    from devops_manager.web_server.spools import Budget

# Slower than this, a body or an answer is given up at its time limit.
SLOWEST_BYTES_A_SECOND = 16 * 1024


class Stage(enum.Enum):
    """What a connection is waiting for."""

    HEAD = "the rest of a head, or the first request"
    IDLE = "the next request"
    BODY = "the rest of a body"
    SERVED = "the application"
    SENDING = "a client that takes its answer"
    LEAVING = "a client that stops sending"


# Whom a new connection may replace when there are too many: the first of these first.
_DISPENSABLE = (Stage.LEAVING, Stage.IDLE, Stage.HEAD, Stage.BODY, Stage.SENDING)
# Nobody is replaced before a request could have arrived.
_GRACE_SECONDS = 0.5


class Connection:
    """One connection; only the thread that serves its request touches it meanwhile."""

    __slots__ = ("client", "counted", "keep", "outbox", "reader", "server", "sock", "stage")

    def __init__(
        self, sock: socket.socket, client: Any, server: Any, *, cfg: Any, budget: Budget
    ) -> None:
        """Wait for the first request on ``sock``, which does not block; ``cfg`` is gunicorn's."""
        self.sock = sock
        self.client = client
        self.server = server
        self.reader = RequestReader(cfg, client, budget)
        self.outbox = Outbox(sock, budget)
        self.keep = False
        self.stage = Stage.HEAD
        self.counted = 0  # of moved_bytes, when the time limit began

    @property
    def moved_bytes(self) -> int:
        """How much of the body has arrived, or how much of the answer has gone."""
        if self.stage is Stage.BODY:
            return self.reader.received_bytes
        return self.outbox.sent_bytes

    def close(self) -> None:
        """Close, and free what was kept."""
        self.reader.close()
        self.outbox.close()
        self.sock.close()


class Deadlines:
    """All connections by stage, in the order in which their time is over.

    A stage has one limit for all, so whoever came first is first over it: nothing is searched and
    nobody needs a timer.
    """

    def __init__(self, limits: Mapping[Stage, float]) -> None:
        """Use these limits, in seconds; a stage without one lasts as long as it takes."""
        self._limits = limits
        self._stages: dict[Stage, dict[Connection, float]] = {stage: {} for stage in Stage}

    def __len__(self) -> int:
        return sum(len(members) for members in self._stages.values())

    def count(self, stage: Stage) -> int:
        """Return how many connections are in a stage."""
        return len(self._stages[stage])

    def put(self, connection: Connection, stage: Stage, now: float) -> None:
        """Move a connection to a stage, whose time begins."""
        self._stages[connection.stage].pop(connection, None)
        connection.stage = stage
        connection.counted = connection.moved_bytes
        self._stages[stage][connection] = now + self._limits.get(stage, float("inf"))

    def remove(self, connection: Connection) -> None:
        """Forget a connection."""
        self._stages[connection.stage].pop(connection, None)

    def overdue(self, now: float) -> list[Connection]:
        """Return the connections whose time is over.

        A body that arrives, or an answer that goes, at SLOWEST_BYTES_A_SECOND gets more time.
        """
        late: list[Connection] = []
        for stage in self._limits:
            late.extend(self._overdue_in(stage, now))
        return late

    def _overdue_in(self, stage: Stage, now: float) -> Iterator[Connection]:
        members = self._stages[stage]
        needed = self._limits[stage] * SLOWEST_BYTES_A_SECOND
        for connection in [*_while_over(members, now)]:
            moves = stage in {Stage.BODY, Stage.SENDING}
            if moves and connection.moved_bytes - connection.counted >= needed:
                self.put(connection, stage, now)
            else:
                yield connection

    def longest_waiting(self, now: float) -> Connection | None:
        """Return the connection that is missed least, the longest there of its stage."""
        for stage in _DISPENSABLE:
            for connection, until in self._stages[stage].items():
                if stage is Stage.IDLE or now - (until - self._limits[stage]) >= _GRACE_SECONDS:
                    return connection
                break
        return None

    def in_stage(self, *stages: Stage) -> list[Connection]:
        """Return the connections in these stages."""
        return [connection for stage in stages for connection in self._stages[stage]]


def _while_over(members: Mapping[Connection, float], now: float) -> Iterator[Connection]:
    for connection, until in members.items():
        if until > now:
            return
        yield connection
