"""The gunicorn worker of the web process: no thread ever waits for a client.

One event loop reads requests, head and body, and sends what is left of answers; threads run the
application for requests that are there in whole. So slow clients cost memory within limits, and
nobody else's time. Measured against the alternatives in docs/performance.md.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import errno
import logging
import os
import queue
import resource
import selectors
import socket
import struct
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.utils.translation import gettext as _
from gunicorn.workers.base import Worker

from devops_manager.web_server.answers import answer, refusal_bytes
from devops_manager.web_server.connections import Connection, Deadlines, Stage
from devops_manager.web_server.requests import Refusal
from devops_manager.web_server.spools import Budget

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

_READ_BYTES = 64 * 1024
_TURN_SECONDS = 1.0
_FULL_TURN_SECONDS = 0.1
_ACCEPTED_AT_ONCE = 64
# How long a client may go on sending after an answer that did not wait for it. Closing at once
# would reset the connection, and most clients would lose the answer.
_LINGER_SECONDS = 5.0
# Of the process's files, for everything but connections.
_OTHER_FILES = 128
_RESET = struct.pack("ii", 1, 0)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class WebWorker(Worker):  # type: ignore[misc]  # it has no types
    """``gunicorn -k devops_manager.web_server.worker.WebWorker devops_manager.wsgi:application``.

    ``--threads`` requests are served at once; ``--keep-alive`` is gunicorn's.
    """

    alive: bool
    _poller: selectors.BaseSelector
    _threads: concurrent.futures.ThreadPoolExecutor
    _connections: Deadlines
    _budget: Budget
    _most: int

    @classmethod
    def check_config(cls, cfg: Any, _log: Any) -> None:
        """Refuse what this worker cannot do. gunicorn calls it at the start."""
        if cfg.is_ssl:
            raise SystemExit("TLS ends at the proxy in front: docs/deploy.md")

    def init_process(self) -> None:
        """Prepare what belongs to the process, then serve."""
        self._poller = selectors.DefaultSelector()
        self._threads = concurrent.futures.ThreadPoolExecutor(self.cfg.threads, "web")
        self._done: queue.SimpleQueue[Connection] = queue.SimpleQueue()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._accepting = False
        super().init_process()

    def handle_exit(self, sig: int, frame: Any) -> None:
        """Stop in order on SIGTERM."""
        super().handle_exit(sig, frame)
        self._wake()

    def run(self) -> None:
        """Serve until told to stop, then finish what is under way."""
        self._begin()
        while self.alive and self.ppid == os.getppid():
            # Full, and nobody can be closed for a new one: they wait in the kernel.
            room = len(self._connections) < self._most or self._replaceable() is not None
            self._accept_more(room)
            self._turn(_TURN_SECONDS if room else _FULL_TURN_SECONDS)
        self.alive = False
        self._turn(0.0)  # requests that have arrived are still served
        self._accept_more(False)
        until = time.monotonic() + self.cfg.graceful_timeout
        while time.monotonic() < until and self._leave():
            self._turn()
        for listener in self.sockets:
            listener.close()
        self._threads.shutdown(wait=False)

    def _begin(self) -> None:
        body = settings.DM_BODY_TIMEOUT_SECONDS
        self._connections = Deadlines(
            {
                Stage.HEAD: settings.DM_HEAD_TIMEOUT_SECONDS,
                Stage.IDLE: float(self.cfg.keepalive),
                Stage.BODY: body,
                Stage.SENDING: body,
                Stage.LEAVING: _LINGER_SECONDS,
            }
        )
        self._budget = Budget(settings.DM_WEB_BUFFER_BYTES)
        self._most = _files_for(settings.DM_WEB_MAX_CONNECTIONS)
        self._poller.register(self._wake_read, selectors.EVENT_READ, self._take_done)

    def _leave(self) -> bool:
        """Close who asks for nothing; return whether somebody is left who is served."""
        for connection in self._connections.in_stage(Stage.HEAD, Stage.IDLE):
            if connection.reader.untouched:
                self._drop(connection)
        return len(self._connections) > 0

    def _turn(self, seconds: float = _TURN_SECONDS) -> None:
        self.notify()
        for key, _events in self._poller.select(seconds):
            key.data()
        self._end_overdue(time.monotonic())

    def _end_overdue(self, now: float) -> None:
        slow = 0
        for connection in self._connections.overdue(now):
            slow += connection.stage not in {Stage.IDLE, Stage.LEAVING}
            unanswered = connection.stage in {Stage.HEAD, Stage.BODY}
            if unanswered and not connection.reader.untouched:
                late = _("The request did not arrive in time.")
                self._refuse(connection, Refusal(408, "request_timeout", late))
            else:
                # The kernel would keep what it does not take, and its connection, for minutes.
                connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self._drop(connection)
        if slow:
            logger.info("%d connections were too slow and are closed", slow)

    # --- new connections -------------------------------------------------------------------------

    def _accept_more(self, wanted: bool) -> None:
        if wanted == self._accepting:
            return
        self._accepting = wanted
        for listener in self.sockets:
            listener.setblocking(False)
            if wanted:
                self._poller.register(
                    listener, selectors.EVENT_READ, partial(self._accept, listener)
                )
            else:
                self._poller.unregister(listener)

    def _accept(self, listener: Any) -> None:
        for _turn in range(_ACCEPTED_AT_ONCE):
            if len(self._connections) >= self._most and not self._make_room():
                return
            try:
                sock, client = listener.accept()
            except OSError as error:
                if error.errno in {errno.EMFILE, errno.ENFILE}:
                    logger.warning("no connection can be accepted: %s", error)
                    self._make_room()
                return
            sock.setblocking(False)
            connection = Connection(
                sock, client, listener.getsockname(), cfg=self.cfg, budget=self._budget
            )
            self._connections.put(connection, Stage.HEAD, time.monotonic())
            self._watch(connection, selectors.EVENT_READ, self._receive)

    def _make_room(self) -> bool:
        """Close the connection that is missed least, for a new one."""
        connection = self._replaceable()
        if connection is not None:
            self._drop(connection)
        return connection is not None

    def _replaceable(self) -> Connection | None:
        return self._connections.longest_waiting(time.monotonic())

    # --- requests --------------------------------------------------------------------------------

    def _watch(
        self, connection: Connection, events: int, act: Callable[[Connection], None]
    ) -> None:
        self._poller.register(connection.sock, events, partial(self._guarded, act, connection))

    def _guarded(self, act: Callable[[Connection], None], connection: Connection) -> None:
        if connection.sock.fileno() < 0:
            return  # it was closed by an event of the same turn
        try:
            act(connection)
        except Exception:
            # a defect met by one connection's bytes; the others go on
            logger.exception("a connection is closed")
            self._drop(connection)

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.sock.recv(_READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            self._drop(connection)
        elif connection.stage is not Stage.LEAVING:
            self._feed(connection, data)

    def _feed(self, connection: Connection, data: bytes) -> None:
        try:
            complete = connection.reader.feed(data)
        except Refusal as refusal:
            self._refuse(connection, refusal)
            return
        now = time.monotonic()
        if complete:
            self._poller.unregister(connection.sock)
            self._connections.put(connection, Stage.SERVED, now)
            self._threads.submit(self._serve, connection)
        elif connection.reader.request is None:
            if connection.stage is Stage.IDLE and not connection.reader.untouched:
                self._connections.put(connection, Stage.HEAD, now)
        elif connection.stage is not Stage.BODY:
            self._connections.put(connection, Stage.BODY, now)
            if connection.reader.wants_continue:
                connection.outbox.sendall(_CONTINUE)
                connection.outbox.flush()

    def _serve(self, connection: Connection) -> None:
        """Run the application. In a thread."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
        try:
            connection.keep = answer(self, connection)
        finally:
            self._done.put(connection)
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: then it wakes anyway
            os.write(self._wake_write, b"\0")

    # --- answers ---------------------------------------------------------------------------------

    def _take_done(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, 4096)
        while True:
            try:
                connection = self._done.get_nowait()
            except queue.Empty:
                return
            self._guarded(self._answered, connection)

    def _refuse(self, connection: Connection, refusal: Refusal) -> None:
        self._poller.unregister(connection.sock)
        connection.keep = False
        connection.reader.unread = True
        connection.outbox.sendall(refusal_bytes(refusal))
        with contextlib.suppress(OSError):
            connection.outbox.flush()
        self._answered(connection)

    def _answered(self, connection: Connection) -> None:
        """Send what is left of an answer, then wait for the next request or close."""
        now = time.monotonic()
        if not connection.outbox.empty:
            self._connections.put(connection, Stage.SENDING, now)
            self._watch(connection, selectors.EVENT_WRITE, self._send)
        elif connection.keep and self.alive:
            connection.reader.next()
            self._connections.put(connection, Stage.IDLE, now)
            self._watch(connection, selectors.EVENT_READ, self._receive)
            if connection.reader.has_more:
                self._feed(connection, b"")
        elif connection.reader.unread or connection.reader.has_more:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_WR)
            connection.reader.close()
            self._connections.put(connection, Stage.LEAVING, now)
            self._watch(connection, selectors.EVENT_READ, self._receive)
        else:
            self._drop(connection)

    def _send(self, connection: Connection) -> None:
        try:
            connection.outbox.flush()
        except OSError:
            self._drop(connection)
            return
        if connection.outbox.empty:
            self._poller.unregister(connection.sock)
            self._answered(connection)

    def _drop(self, connection: Connection) -> None:
        with contextlib.suppress(KeyError, ValueError):  # it is not watched while it is served
            self._poller.unregister(connection.sock)
        self._connections.remove(connection)
        connection.close()


def _files_for(wanted: int) -> int:
    """Return how many connections the process's limit of open files allows; raise it if need be.

    Each may have two files beside its socket: a large body's, and a large answer's.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = 3 * wanted + _OTHER_FILES
    if soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    allowed = (soft - _OTHER_FILES) // 3
    if allowed < wanted:
        logger.warning("at most %d connections: the limit of open files is %d", allowed, soft)
    return max(1, min(wanted, allowed))
