"""A hand-written client of the agent protocol: it says exactly what a test wants said."""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db.models.functions import Now

from hosts_app.models import Host
from tasks_app.models import CommandHost
from tasks_app.services.sweeps import sweep_deadlines
from tests.factories import EnrolledHost

SECONDS = 15.0


@dataclass(frozen=True)
class Reply:
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The code of a problem, or nothing."""
        return str(self.json.get("code", "")) if self.status >= 400 else ""


def send(
    port: int,
    path: str,
    body: object = None,
    *,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    connection: http.client.HTTPConnection | None = None,
) -> Reply:
    """Send one request: bytes as they are, everything else as JSON."""
    connection = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
    try:
        connection.request(method, path, data, headers or {})
        answer = connection.getresponse()
        named = {name.lower(): value for name, value in answer.getheaders()}
        return Reply(answer.status, named, answer.read())
    finally:
        connection.close()


class OpenPoll:
    """A poll that is under way in a thread of its own."""

    def __init__(self, port: int, body: dict[str, Any], headers: dict[str, str]) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
        self._reply: Future[Reply] = Future()
        self.sent_at = time.monotonic()
        self._connection.connect()
        threading.Thread(target=self._run, args=(port, body, headers), daemon=True).start()

    def _run(self, port: int, body: dict[str, Any], headers: dict[str, str]) -> None:
        try:
            reply = send(port, "/agent/v1/poll", body, headers=headers, connection=self._connection)
            self._reply.set_result(reply)
        except Exception as error:  # noqa: BLE001 - it is the waiting test's to judge
            self._reply.set_exception(error)

    @property
    def answered(self) -> bool:
        return self._reply.done()

    def reply(self, seconds: float = SECONDS) -> Reply:
        """Wait for the answer."""
        return self._reply.result(seconds)

    def drop(self) -> None:
        """Close the connection without waiting."""
        if self._connection.sock is not None:
            self._connection.sock.close()


@dataclass
class Agent:
    """What an agent says of itself, and the requests of one."""

    port: int
    credential: str
    host: Host
    journal_id: uuid.UUID = field(default_factory=uuid.uuid4)
    run: int = 1
    instance_id: uuid.UUID = field(default_factory=uuid.uuid4)
    seq: int = 0
    holding: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, port: int, enrolled: EnrolledHost) -> Agent:
        return cls(port, enrolled.credential, enrolled.host)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.credential}"}

    def message(self, **changes: Any) -> dict[str, Any]:
        """Return a poll as it stands; ``changes`` replace or add fields."""
        return {
            "journal_id": str(self.journal_id),
            "run": self.run,
            "instance_id": str(self.instance_id),
            "seq": self.seq,
            "boot_id": "boot",
            "time": time.time(),
            "agent_version": "0.1.0",
            "holding": [{"fence": f, "state": s} for f, s in self.holding.items()],
            **changes,
        }

    def poll(self, *, take: bool = True, **changes: Any) -> Reply:
        """Send the next poll, by default one that is answered at once, and take what it brings."""
        self.seq += 1
        reply = self.repeat(**changes)
        if take and reply.status == 200:
            for command in reply.json["commands"]:
                self.holding[command["fence"]] = "running"
        return reply

    def repeat(self, **changes: Any) -> Reply:
        """Send the poll as it stands, without a new seq."""
        message = self.message(**{"wait_seconds": 0, **changes})
        return send(self.port, "/agent/v1/poll", message, headers=self.headers)

    def open_poll(self, *, port: int = 0, same: bool = False, **changes: Any) -> OpenPoll:
        """Send the next poll (or the same again) and return at once."""
        if not same:
            self.seq += 1
        return OpenPoll(port or self.port, self.message(**changes), self.headers)

    def restart(self) -> None:
        """Begin a new run with the same journal."""
        self.run += 1
        self.seq = 0
        self.instance_id = uuid.uuid4()

    def report(self, *results: dict[str, Any], output: list[dict[str, Any]] | None = None) -> Reply:
        """Send results and chunks."""
        body = {"results": list(results), "output": output or []}
        return send(self.port, "/agent/v1/report", body, headers=self.headers)

    def verdict(self, fence: str, **changes: Any) -> str:
        """Report one result and return its verdict; the journal drops what was answered."""
        (answer,) = self.report(result(fence, **changes)).json["results"]
        self.holding.pop(fence, None)
        assert answer["fence"] == fence
        return str(answer["verdict"])


def result(fence: str, **changes: Any) -> dict[str, Any]:
    """Return a result of a command that printed ``hello``."""
    empty = hashlib.sha256(b"").digest()
    digest = hashlib.sha256(hashlib.sha256(b"hello\n").digest() + empty).hexdigest()
    return {
        "fence": fence,
        "status": "completed",
        "exit_code": 0,
        "error_code": "",
        "error_message": "",
        "execution_time_ms": 12,
        "started_at": 1_790_000_000.5,
        "finished_at": 1_790_000_001.5,
        "output_digest": digest,
        "stdout": {"encoding": "utf-8", "head": "hello\n", "dropped_bytes": 0, "total_bytes": 6},
        "stderr": {"encoding": "utf-8", "head": "", "dropped_bytes": 0, "total_bytes": 0},
        **changes,
    }


def fences(reply: Reply) -> list[str]:
    """Return the fences of the commands that a poll was answered with."""
    assert reply.status == 200, reply
    return [command["fence"] for command in reply.json["commands"]]


def only(reply: Reply) -> str:
    """Return the fence of the one command that a poll was answered with."""
    (fence,) = fences(reply)
    return fence


def lose(fence: str) -> None:
    """Let the time of a delivered command run out, so that its outcome is unknown."""
    CommandHost.objects.filter(fence=fence).update(deadline=Now() - timedelta(seconds=1))
    assert sweep_deadlines() == 1
    assert CommandHost.objects.get(fence=fence).status == "lost"


def eventually(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Wait until something holds that another process brings about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.01)
