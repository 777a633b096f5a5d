"""The whole API against its own description, by schemathesis on a real web server.

A minute with one seed; ``make schema-fuzz MINUTES=5`` looks longer, with a seed of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from devops_manager.access.models import ApiToken, Role, User
from devops_manager.access.services import create_token
from hosts_app.models import HostGroup
from tasks_app.models import Command
from tests.queue_world import FakeAgent, make_hosts, make_task, started_task
from tests.task_factories import actor_for, make_user
from tests.web_process import web_process

SECONDS = int(float(os.environ.get("DM_SCHEMA_FUZZ_MINUTES", "1")) * 60)
SEED = os.environ.get("DM_SCHEMA_FUZZ_SEED", "20261128")
# What lies at each limit takes long to make: for those who have more than a minute.
PHASES = "coverage,fuzzing" if SECONDS > 60 else "fuzzing"
HOOKS = Path(__file__).parent.parent / "schema" / "hooks.py"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "valid_is_not_refused",
    "refusals_are_problems",
)

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(SECONDS * 2 + 240),
]


def _tokens(user: User, count: int) -> list[ApiToken]:
    return [
        create_token(
            actor=actor_for(user), name=f"token {number}", role=Role.VIEWER, expires_at=None
        )[0]
        for number in range(count)
    ]


def world(user: User) -> dict[str, list[str]]:
    """Make some of everything; return the ids, by the names of the paths' parameters."""
    hosts = make_hosts(40)
    waiting = [make_task(hosts[:3], steps=2) for _number in range(8)]
    running = [started_task(hosts[:4], steps=2) for _number in range(4)]
    agent = FakeAgent(hosts[0])
    for command in agent.poll().commands:
        agent.report(command.fence)
    groups = [HostGroup.objects.create(name=f"group-{number}") for number in range(6)]
    return {
        "host_id": [str(host.host_id) for host in hosts[:10]],
        "target_id": [str(host.host_id) for host in hosts[10:]],  # nobody disables these
        "token_id": [str(token.token_id) for token in _tokens(user, 6)],
        "task_id": [str(task.task_id) for task in [*waiting, *running]],
        "command_id": [str(step.command_id) for step in Command.objects.filter(task__in=running)],
        "group_name": [group.name for group in groups],
        "group_id": [str(group.group_id) for group in groups],
    }


def test_the_api_keeps_to_its_description(tmp_path: Path) -> None:
    user = make_user(Role.ADMIN, "fuzzer")
    _token, secret = create_token(
        actor=actor_for(user), name="fuzz", role=Role.ADMIN, expires_at=None
    )
    ids = tmp_path / "world.json"
    ids.write_text(json.dumps(world(user)))
    with web_process(tmp_path / "web.log", DM_LOGIN_FAILURE_LIMIT="1000") as url:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/api/schema?format=json"),
                *("-H", f"Authorization: Bearer {secret}", "--checks", ",".join(CHECKS)),
                *("--phases", PHASES, f"--max-time={SECONDS}", f"--seed={SEED}"),
                *("--mode", "all", "--workers", "2", "--no-color", "--continue-on-failure"),
                *("--suppress-health-check", "all"),  # a busy machine is not the API's fault
                *("--generation-database", "none", "--request-timeout", "20"),
                *("--generation-with-security-parameters", "false"),
                *("--exclude-path", "/api/v1/auth/logout"),
            ],
            env={
                **os.environ,
                "SCHEMATHESIS_HOOKS": str(HOOKS),
                "DM_SCHEMA_WORLD": str(ids),
            },
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    print(done.stdout[-5000:])
    assert done.returncode == 0, done.stdout[-20_000:]
    assert "Traceback" not in (tmp_path / "web.log").read_text()
