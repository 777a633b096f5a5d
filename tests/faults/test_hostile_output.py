"""Whatever a host prints, up to the largest cap, its result is there soon and nobody else waits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import pytest

from tasks_app.models import CommandHost, Task
from tests.factories import started_task
from tests.faults.world import RealAgent, wait_for
from tests.gateway_process import GatewayProcess
from tests.pages_world import visitor

LIMIT_SECONDS = 1.0
CAP = 1_048_576

# Each prints what was quadratic, or might be, until the cap is full.
COMMANDS = {
    "blanks": "head -c 200000 /dev/zero | tr '\\0' ' '; echo x",
    "blanks to the cap": f"head -c {2 * CAP} /dev/zero | tr '\\0' ' '; echo x",
    "long line": "head -c 120000 /dev/zero | tr '\\0' a; echo",
    "long line to the cap": f"head -c {2 * CAP} /dev/zero | tr '\\0' a; echo",
    "line ends": f"head -c {CAP} /dev/zero | tr '\\0' '\\n'",
    "blank lines": f"yes ' ' | head -c {CAP}",
    "carriage returns": f"head -c {CAP} /dev/zero | tr '\\0' '\\r'",
    "escapes": f"yes \"$(printf '\\033[')\" | tr -d '\\n' | head -c {CAP}",
    "titles": f"yes \"$(printf '\\033]0;a')\" | tr -d '\\n' | head -c {CAP}",
    "tabs": f"head -c {CAP} /dev/zero | tr '\\0' '\\t' >&2",
    "zeros": f"head -c {CAP} /dev/zero",
    "noise": f"head -c {2 * CAP} /dev/urandom",
}


class Slowest:
    """The longest time that a request took; asked every 100 ms by a thread of its own."""

    def __init__(self, url: str) -> None:
        self.seconds = 0.0
        self._url = url
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    @contextmanager
    def watching(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self._over.set()
            self._thread.join()

    def _ask(self) -> None:
        with httpx.Client(timeout=30) as client:
            while not self._over.is_set():
                began = time.monotonic()
                client.get(self._url).raise_for_status()
                self.seconds = max(self.seconds, time.monotonic() - began)
                self._over.wait(0.1)


def ended(task: Task) -> Callable[[], bool]:
    return lambda: CommandHost.objects.filter(task=task, finished_at__isnull=False).exists()


@pytest.mark.timeout(180)
@pytest.mark.output_cap(CAP)
def test_no_output_holds_up_anybody(
    start_gateway: Callable[..., GatewayProcess],
    make_agent: Callable[..., RealAgent],
) -> None:
    gateway = start_gateway(DM_OUTPUT_CAP_BYTES=str(CAP))
    loud, quiet = make_agent(gateway.url), make_agent(gateway.url, "web-2")
    loud.process.start()
    quiet.process.start()
    wait_for(ended(started_task([loud.host], commands=[{"body": "true"}])), "the first command")
    wait_for(ended(started_task([quiet.host], commands=[{"body": "true"}])), "the first command")
    worker = gateway.worker_pid()
    slow = Slowest(f"{gateway.url}/healthz")
    took: dict[str, tuple[float, float, float]] = {}
    with slow.watching():
        for name, body in COMMANDS.items():
            began = time.monotonic()
            task = started_task([loud.host], commands=[{"body": body}])
            other = started_task([quiet.host], commands=[{"body": "true"}])
            wait_for(ended(other), f"the other host's command beside {name}")
            beside = time.monotonic() - began
            wait_for(ended(task), f"the result of {name}")
            row = CommandHost.objects.get(task=task)
            assert row.finished_at is not None
            assert row.claimed_at is not None
            assert row.status in {"completed", "failed"}, name
            result = (row.finished_at - row.claimed_at).total_seconds()
            took[name] = (result - (row.execution_time or 0) / 1000, beside, page_time(task))
    assert gateway.worker_pid() == worker, "the gateway was restarted"
    assert slow.seconds < LIMIT_SECONDS
    late = {name: times for name, times in took.items() if max(times) > LIMIT_SECONDS}
    assert not late


def page_time(task: Task) -> float:
    """Return how long the slowest page that shows the output takes."""
    (row,) = CommandHost.objects.filter(task=task).select_related("host", "command")
    client = visitor(name=f"reader-{task.pk}")
    slowest = 0.0
    for address in (
        f"/tasks/{task.task_id}/output",
        f"/tasks/{task.task_id}/hosts/{row.host.host_id}",
        f"/tasks/{task.task_id}",
    ):
        began = time.thread_time()
        assert client.get(address).status_code == 200
        slowest = max(slowest, time.thread_time() - began)
    return slowest
