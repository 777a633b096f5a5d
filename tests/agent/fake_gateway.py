"""A gateway for tests: real HTTP on a real port, its answers set by the test.

It keeps what agents sent. Polls are held until there is something to say, as the real one does.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import uuid
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from agents_app.protocol import PREFIX

PATIENCE_SECONDS = 30.0
HOST_ID = "01980000-0000-7000-8000-000000000001"
TOKEN = "dme_token"
CREDENTIAL = "dma_credential"

# A body that is no JSON object is sent as it is: not every server on the way is a gateway.
Answer = tuple[int, dict[str, Any] | bytes, dict[str, str]]


def problem(status: int, code: str, **headers: str) -> Answer:
    """An error answer; header names are given with underscores."""
    body = {"type": "about:blank", "title": "x", "status": status, "code": code, "detail": code}
    return status, body, {name.replace("_", "-"): value for name, value in headers.items()}


def command(body: str, **fields: Any) -> dict[str, Any]:
    """A delivery as the gateway writes it."""
    return {
        "fence": str(uuid.uuid4()),
        "attempt": 1,
        "task_id": str(uuid.uuid4()),
        "command_id": str(uuid.uuid4()),
        "name": "a command",
        "position": 1,
        "kind": "command",
        "body": body,
        "interpreter": "",
        "parameters": [],
        "environment": {},
        "working_directory": "",
        "run_as": "",
        "timeout_seconds": 60,
        "kill_grace_seconds": 1,
        "output_cap_bytes": 4096,
        **fields,
    }


class _Server6(ThreadingHTTPServer):
    address_family = socket.AF_INET6


class FakeGateway:
    """The state of the server side, and the server. Use as a context manager."""

    def __init__(
        self, certificate: Path | None = None, *, host: str = "127.0.0.1", port: int = 0
    ) -> None:
        self.changed = threading.Condition()
        self.polls: list[dict[str, Any]] = []
        self.reports: list[dict[str, Any]] = []
        self.enrolments: list[dict[str, Any]] = []
        self.heartbeats: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.results: dict[str, dict[str, Any]] = {}
        self.verdicts: list[tuple[str, str]] = []
        self.chunks: list[dict[str, Any]] = []
        self.scripted: dict[str, deque[Answer | Callable[[dict[str, Any]], Answer]]] = {
            "poll": deque(),
            "report": deque(),
            "enroll": deque(),
            "heartbeat": deque(),
        }
        self.config: dict[str, Any] = {"live_interval_seconds": 0.05, "live_chunk_bytes": 1024}
        self.paused = False
        self._deliveries: list[dict[str, Any]] = []
        self._cancels: list[str] = []
        self._closing = False
        kind = _Server6 if ":" in host else ThreadingHTTPServer
        self._server = kind((host, port), self._handler())
        self._server.daemon_threads = True
        self.port: int = self._server.server_port
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.url = self.url.replace("http:", "https:")

    def __enter__(self) -> FakeGateway:
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self.changed:
            self._closing = True
            self.changed.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def script(self, endpoint: str, *answers: Answer | Callable[[dict[str, Any]], Answer]) -> None:
        """Use these answers for the next requests to the endpoint, one each."""
        with self.changed:
            self.scripted[endpoint].extend(answers)
            self.changed.notify_all()

    def deliver(self, *commands: dict[str, Any]) -> None:
        """Hand these out with the next answer to a poll."""
        with self.changed:
            self._deliveries.extend(commands)
            self.changed.notify_all()

    def cancel(self, *fences: str) -> None:
        """Cancel these with the next answer to a poll."""
        with self.changed:
            self._cancels.extend(fences)
            self.changed.notify_all()

    def wait_for(self, happened: Callable[[], Any], what: str = "it") -> Any:
        """Wait until the function gives something true, and give that."""
        with self.changed:
            self.changed.wait_for(happened, timeout=PATIENCE_SECONDS)
            value = happened()
        assert value, f"{what} did not happen in {PATIENCE_SECONDS:g} s"
        return value

    def result(self, delivered: dict[str, Any]) -> dict[str, Any]:
        """Wait for the result of a command."""
        fence = delivered["fence"]
        found: dict[str, Any] = self.wait_for(lambda: self.results.get(fence), "the result")
        return found

    def was_reported(self, fence: str) -> bool:
        """Whether a result for the fence came, whatever was answered."""
        return any(r["fence"] == fence for report in self.reports for r in report["results"])

    def next_poll(self, holds: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """Wait for a poll after this moment that fits."""
        with self.changed:
            seen = len(self.polls)
        return dict(self.wait_for(lambda: next(filter(holds, self.polls[seen:]), None), "a poll"))

    def holding_state(self, fence: str, state: str) -> dict[str, Any]:
        """Wait until some poll lists the fence in this state."""
        item = {"fence": fence, "state": state}
        return dict(
            self.wait_for(
                lambda: next((p for p in self.polls if item in p["holding"]), None),
                f"a poll that holds {state}",
            )
        )

    def answer(self, endpoint: str, message: dict[str, Any]) -> Answer:
        with self.changed:
            log = {
                "poll": self.polls,
                "report": self.reports,
                "enroll": self.enrolments,
                "heartbeat": self.heartbeats,
            }[endpoint]
            log.append(message)
            self.changed.notify_all()
            self.changed.wait_for(lambda: not self.paused or self._closing, PATIENCE_SECONDS)
            if endpoint == "poll" and not self.scripted["poll"]:
                self._hold(message)
                if self._newest(message) is not message:
                    return problem(409, "poll_superseded")
            if self.scripted[endpoint]:
                scripted = self.scripted[endpoint].popleft()
                return scripted(message) if callable(scripted) else scripted
            plain = {
                "poll": self._poll,
                "report": self._report,
                "enroll": self._enroll,
                "heartbeat": lambda _: (200, {"server_time": 0.0}, {}),
            }
            return plain[endpoint](message)

    def _newest(self, message: dict[str, Any]) -> dict[str, Any]:
        """The last poll of that agent: one before it is given nothing any more."""
        own = message.get("instance_id")
        return next(poll for poll in reversed(self.polls) if poll.get("instance_id") == own)

    def _hold(self, message: dict[str, Any]) -> None:
        self.changed.wait_for(
            lambda: (
                self._deliveries
                or self._cancels
                or self.scripted["poll"]
                or self._closing
                or self._newest(message) is not message
            ),
            timeout=message.get("wait_seconds", 0),
        )

    def _poll(self, message: dict[str, Any]) -> Answer:
        commands, cancels = self._deliveries, self._cancels
        if message.get("slots") == 0:
            commands = []
        else:
            self._deliveries = []
        self._cancels = []
        return 200, {"commands": commands, "cancel": cancels, "config": self.config}, {}

    def _report(self, message: dict[str, Any]) -> Answer:
        verdicts = []
        for record in message["results"]:
            first = self.results.setdefault(record["fence"], record)
            verdict = "accepted" if first is record else "duplicate"
            if first != record:
                verdict = "conflict"
            verdicts.append({"fence": record["fence"], "verdict": verdict})
            self.verdicts.append((record["fence"], verdict))
        self.chunks += message["output"]
        output = [
            {
                "fence": chunk["fence"],
                "stream": chunk["stream"],
                "verdict": "accepted",
                "offset": chunk["offset"] + len(chunk["data"].encode()),
            }
            for chunk in message["output"]
        ]
        self.changed.notify_all()
        return 200, {"results": verdicts, "output": output}, {}

    def _enroll(self, message: dict[str, Any]) -> Answer:
        if message["token"] != TOKEN:
            return problem(401, "enrollment_token_invalid")
        return 201, {"host_id": HOST_ID, "credential": CREDENTIAL, "status": "active"}, {}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        gateway = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                message = json.loads(self.rfile.read(length))
                endpoint = self.path.rpartition(PREFIX)[2]
                gateway.headers.append({n.lower(): v for n, v in self.headers.items()})
                authorised = self.headers.get("Authorization") == f"Bearer {CREDENTIAL}"
                if endpoint != "enroll" and not authorised:
                    status, body, headers = problem(401, "credential_invalid")
                else:
                    status, body, headers = gateway.answer(endpoint, message)
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
                self.close_connection = gateway._closing

            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):  # a killed agent leaves so
                    super().handle()

            def log_message(self, *_: object) -> None:
                pass

        return Handler
