"""After every test in here all promises hold."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway_process import database_url
from tests.invariants.checks import violations


@pytest.fixture(autouse=True)
def _promises_hold(transactional_db: None) -> Iterator[None]:
    yield
    assert violations(database_url()) == []
