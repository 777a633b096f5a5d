"""The API as a script uses it, over HTTP; and one task with what a test asks about it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

LOOK_SECONDS = 0.05
ENDED = {"completed", "partial", "failed", "canceled"}
TIMEOUT = httpx.Timeout(20.0)


def wait_until(
    happened: Callable[[], Any], seconds: float, what: str | Callable[[], str] = "it"
) -> Any:
    """Look again and again until the function gives something true, and give that."""
    until = time.monotonic() + seconds
    while not (value := happened()):
        if time.monotonic() > until:
            told = what if isinstance(what, str) else what()
            raise AssertionError(f"waited {seconds:g} s in vain for {told}")
        time.sleep(LOOK_SECONDS)
    return value


def step(body: str, **fields: Any) -> dict[str, Any]:
    """Return one step as the API takes it."""
    return {"kind": "command", "body": body, "timeout_seconds": 60, **fields}


class Client:
    """Calls of ``/api/v1``; a call that is refused fails the test with what the server said."""

    def __init__(self, base_url: str, token: str) -> None:
        """``token`` is a bearer token."""
        self.base_url = base_url
        self._http = httpx.Client(
            base_url=f"{base_url}/api/v1/",
            headers={"Authorization": f"Bearer {token}"},
            timeout=TIMEOUT,
            trust_env=False,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Return the answer, whatever it is."""
        return self._http.request(method, path, **options)

    def get(self, path: str, **query: Any) -> Any:
        """Return the decoded answer to a GET."""
        return self._good(self.ask("GET", path, params=query))

    def post(self, path: str, body: Any = None) -> Any:
        """Return the decoded answer to a POST."""
        return self._good(self.ask("POST", path, json=body or {}))

    def patch(self, path: str, body: Any) -> Any:
        """Return the decoded answer to a PATCH."""
        return self._good(self.ask("PATCH", path, json=body))

    @staticmethod
    def _good(response: httpx.Response) -> Any:
        assert response.is_success, (
            f"{response.request.url}: {response.status_code} {response.text}"
        )
        return response.json() if response.content else None

    def create_task(self, name: str, steps: list[dict[str, Any]], **fields: Any) -> Task:
        """Create a task; ``target`` is in the fields."""
        body = {"name": name, "commands": steps, **fields}
        return Task(self, self.post("tasks", body)["task_id"])

    def start_task(self, name: str, steps: list[dict[str, Any]], **fields: Any) -> Task:
        """Create a task and start it."""
        task = self.create_task(name, steps, **fields)
        task.start()
        return task


@dataclass(frozen=True)
class Task:
    """One task of the API."""

    api: Client
    task_id: str

    @property
    def path(self) -> str:
        """Its address below ``/api/v1/``."""
        return f"tasks/{self.task_id}"

    def start(self) -> Any:
        """Start it."""
        return self.api.post(f"{self.path}/start")

    def cancel(self) -> Any:
        """Cancel it."""
        return self.api.post(f"{self.path}/cancel")

    @property
    def status(self) -> str:
        """Its state."""
        return str(self.state()["status"])

    def state(self) -> dict[str, Any]:
        """Where it stands, with its hosts by outcome."""
        state: dict[str, Any] = self.api.get(f"{self.path}/status")
        return state

    def rows(self) -> dict[tuple[str, int], dict[str, Any]]:
        """Return its rows by host name and position of the step."""
        hosts = self.api.get(f"{self.path}/hosts", size=200)["results"]
        rows = [row for host in hosts for row in host["rows"]]
        return {(row["hostname"], row["position"]): row for row in rows}

    def row(self, node: str, position: int = 1) -> dict[str, Any]:
        """Return one row; an empty one before it exists."""
        return self.rows().get((node, position), {"status": None})

    def states(self) -> dict[tuple[str, int], str]:
        """Return the states of its rows."""
        return {key: row["status"] for key, row in self.rows().items()}

    def wait(self, seconds: float = 20.0) -> str:
        """Wait until it has ended and return how."""
        wait_until(lambda: self.status in ENDED, seconds, lambda: f"the end of {self.states()}")
        return self.status

    def wait_row(self, node: str, *states: str, position: int = 1, seconds: float = 20.0) -> Any:
        """Wait until a row is in one of the states and return it."""

        def reached() -> Any:
            row = self.row(node, position)
            return row if row["status"] in states else None

        return wait_until(reached, seconds, lambda: f"{states} in {self.states()}")

    def output(self, node: str, position: int = 1, **query: Any) -> dict[str, Any]:
        """Return a row's entry in the logs."""
        for entry in self.api.get(f"{self.path}/logs", **{"size": 100, **query})["results"]:
            if (entry["row"]["hostname"], entry["row"]["position"]) == (node, position):
                found: dict[str, Any] = entry
                return found
        raise AssertionError(f"no output of {node}, step {position}")
