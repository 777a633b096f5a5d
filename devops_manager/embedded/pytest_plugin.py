"""Gives a pytest run its PostgreSQL and Redis before pytest-django reads the settings.

Loaded with ``-p devops_manager.embedded.pytest_plugin``. The process that was started first owns
the servers; pytest-xdist's workers inherit their addresses and take a Redis database each (and
pytest-django gives each a PostgreSQL database). ``DATABASE_URL`` and ``REDIS_URL`` in the
environment win. Servers that cannot be had are an error, never a skip.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit, urlunsplit

import pytest

from devops_manager.embedded.errors import EmbeddedError
from devops_manager.embedded.places import VAR
from devops_manager.embedded.servers import embedded_servers

_ADDRESSES = ("DATABASE_URL", "REDIS_URL")
_stack = ExitStack()


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Iterator[None]:
    """Start the servers first: pytest-django reads the settings inside this hook."""
    os.environ.setdefault("DM_SECRET_KEY", "only-for-tests-" + "0123456789abcdef" * 4)
    os.environ.setdefault("DM_LOG_LEVEL", "WARNING")
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker:
        os.environ["REDIS_URL"] = own_redis_url(os.environ["REDIS_URL"], worker)
    elif not all(os.environ.get(name) for name in _ADDRESSES):
        _start_servers()
    return (yield)


def _start_servers() -> None:
    try:
        servers = _stack.enter_context(embedded_servers(VAR))
    except EmbeddedError as error:
        raise pytest.UsageError(f"no servers for the tests: {error}") from None
    for name, url in servers.environment().items():
        os.environ.setdefault(name, url)


def own_redis_url(url: str, worker: str) -> str:
    """Return ``url`` with the Redis database of the xdist worker (``gw0``: the one after)."""
    parts = urlsplit(url)
    first = int(parts.path.strip("/") or 0)
    number = first + 1 + int(worker.removeprefix("gw"))
    return urlunsplit(parts._replace(path=f"/{number}"))


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Stop the servers when everything else, the databases' removal included, is over."""
    _stack.close()
