"""Real gateways on the test's database: one with Redis, one whose Redis is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from pytest_django import DjangoDbBlocker

from devops_manager.embedded.ports import free_port
from tests.factories import make_enrolled_host
from tests.gateway_process import GatewayProcess, database_url, own_wake_channel, serving
from tests.invariants.checks import violations
from tests.protocol.client import Agent


@pytest.fixture(scope="session", autouse=True)
def _own_channel() -> None:
    own_wake_channel()


@pytest.fixture(scope="session")
def gateway(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
    _own_channel: None,
) -> Iterator[GatewayProcess]:
    log = tmp_path_factory.mktemp("gateway") / "gateway.log"
    # A test speaks for a client of its own, so that failures are counted apart.
    with serving(django_db_blocker, log, DM_TRUSTED_PROXIES="127.0.0.1") as process:
        yield process


@pytest.fixture(scope="session")
def lonely_gateway(
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
    tmp_path_factory: pytest.TempPathFactory,
    _own_channel: None,
) -> Iterator[GatewayProcess]:
    """A gateway without Redis: nobody listens where it looks for it."""
    log = tmp_path_factory.mktemp("lonely") / "gateway.log"
    nobody = f"redis://127.0.0.1:{free_port()}/0"
    with serving(
        django_db_blocker, log, REDIS_URL=nobody, DM_PENDING_QUERY_SECONDS="0.3"
    ) as process:
        yield process


@pytest.fixture
def promises_hold(transactional_db: None) -> Iterator[None]:
    """Whatever was said to a gateway, every promise of docs/reliability.md holds after it.

    For the modules whose tests move rows: a twentieth of a second a test is much for the others.
    """
    yield
    assert violations(database_url()) == []


@pytest.fixture
def agent(gateway: GatewayProcess, transactional_db: None) -> Agent:
    """An agent of an active host."""
    return Agent.of(gateway.port, make_enrolled_host())


@pytest.fixture
def make_agent(gateway: GatewayProcess, transactional_db: None) -> Callable[..., Agent]:
    """Make agents of further hosts."""

    def make(hostname: str = "web-2", **fields: object) -> Agent:
        return Agent.of(gateway.port, make_enrolled_host(hostname, **fields))

    return make
