"""Runs commands as the executor does, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agents_app.agent.children import ChildRegistry
from agents_app.agent.messages import parse_command
from agents_app.agent.records import Outcome
from agents_app.agent.spawn import Spawner
from agents_app.agent.supervise import Supervision
from tests.agent.fake_gateway import command


class Runner:
    """One spawner with its work directory; keeps the supervision for a look inside."""

    def __init__(self, work_dir: Path) -> None:
        self.work_dir = work_dir
        self.children = ChildRegistry()
        self.spawner = Spawner(work_dir, self.children, "web-1")

    def supervise(self, body: str, **fields: Any) -> Supervision:
        parsed = parse_command(command(body, **fields))
        return Supervision(parsed, self.spawner, parsed.output_cap_bytes)

    def run(self, body: str, **fields: Any) -> tuple[Outcome, str, str]:
        supervision = self.supervise(body, **fields)
        outcome = supervision.execute()
        stdout, stderr = (
            (supervision.captures[name].read(0, 1 << 20) or b"").decode()
            for name in ("stdout", "stderr")
        )
        return outcome, stdout, stderr
