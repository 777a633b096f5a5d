"""Real gateways and real agents on the test's database; the promises are checked after every test.

What a test has started is ended first, so that the check looks at what is left for good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import DjangoDbBlocker

from agents_app.agent.journal import JOURNAL_FILE
from tests.factories import make_enrolled_host
from tests.faults.transitions import Transitions
from tests.faults.world import DURATIONS, RealAgent, real_agent
from tests.gateway_process import GatewayProcess, database_url, own_wake_channel, serving
from tests.invariants.checks import violations
from tests.protocol.client import Agent


@pytest.fixture(scope="session", autouse=True)
def _own_channel() -> None:
    own_wake_channel()


@pytest.fixture(autouse=True)
def _small_durations(settings: Any) -> None:
    """What this process decides, it decides by the durations that the others were given."""
    for name, value in DURATIONS.items():
        if name != "DM_LOG_LEVEL":
            setattr(settings, name, float(value))


@pytest.fixture(scope="session")
def gateway(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
    _own_channel: None,
) -> Iterator[GatewayProcess]:
    """A gateway that no test breaks. It goes on through all of them."""
    log = tmp_path_factory.mktemp("gateway") / "gateway.log"
    with serving(django_db_blocker, log, **DURATIONS) as process:
        yield process


@pytest.fixture
def journals() -> list[Path]:
    """The journals of the agents of this test."""
    return []


@pytest.fixture(autouse=True)
def transitions(
    transactional_db: None, journals: list[Path], request: pytest.FixtureRequest
) -> Iterator[Transitions]:
    """Every change of a row's state is written down; at the end all promises hold."""
    cap = request.node.get_closest_marker("output_cap")
    with Transitions() as seen:
        yield seen
        assert seen.illegal() == []
        limits = {"output_cap_bytes": cap.args[0]} if cap else {}
        assert violations(database_url(), journals, **limits) == []


@pytest.fixture
def start_gateway(
    transitions: Transitions, tmp_path: Path
) -> Iterator[Callable[..., GatewayProcess]]:
    """Start gateways; ``port`` is that of one before, keywords are settings."""
    started: list[GatewayProcess] = []

    def start(*, port: int = 0, **environment: str) -> GatewayProcess:
        log = tmp_path / f"gateway-{len(started)}.log"
        process = GatewayProcess(log, **{**DURATIONS, **environment})
        process.port = port or process.port
        started.append(process)
        return process.start()

    yield start
    for process in started:
        print(process.log)
        process.stop()


@pytest.fixture
def make_agent(
    transitions: Transitions, journals: list[Path], tmp_path: Path
) -> Iterator[Callable[..., RealAgent]]:
    """Make real agents, each with a host of its own; they are not started."""
    made: list[RealAgent] = []

    def make(server: str, hostname: str = "web-1") -> RealAgent:
        agent = real_agent(tmp_path / hostname, make_enrolled_host(hostname), server)
        journals.append(agent.process.state_dir / JOURNAL_FILE)
        made.append(agent)
        return agent

    yield make
    for agent in made:
        if agent.process.process is not None and agent.process.process.poll() is None:
            agent.process.kill()
        print(agent.process.log.read_text())


@pytest.fixture
def speak_for(gateway: GatewayProcess) -> Callable[..., Agent]:
    """Make hand-written agents of new hosts, which say exactly what a test wants said."""

    def speak(hostname: str) -> Agent:
        return Agent.of(gateway.port, make_enrolled_host(hostname))

    return speak


@pytest.fixture
def marks(tmp_path: Path) -> Path:
    """A directory that the commands of this test write into."""
    path = tmp_path / "marks"
    path.mkdir()
    return path
