"""What every test gets. PostgreSQL and Redis come from devops_manager.embedded.pytest_plugin.

Each xdist worker has a PostgreSQL database and a Redis database of its own. The Redis database that
``REDIS_URL`` names is emptied before each test, so give the tests one that holds nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from django.conf import settings
from django.db import OperationalError
from django.db.backends.base.operations import BaseDatabaseOperations
from django.utils import translation
from psycopg.errors import DeadlockDetected

# Strong hashes are slow on purpose; what is tested here is not their strength.
settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session")
def redis_client() -> Iterator[redis.Redis]:
    """A client for this worker's own Redis database."""
    client = redis.Redis.from_url(settings.REDIS_URL)
    yield client
    client.close()


@pytest.fixture(autouse=True)
def empty_redis(redis_client: redis.Redis) -> None:
    """Begin each test with empty caches, as it begins with an empty database."""
    redis_client.flushdb()


@pytest.fixture(autouse=True)
def _language_of_its_own() -> None:
    """Forget the language in which a request of the last test was answered in this thread."""
    translation.deactivate()


@pytest.fixture(scope="session", autouse=True)
def _empty_tables_beside_running_processes() -> Iterator[None]:
    """Empty the tables again after a deadlock.

    A gateway that serves several tests may still write what the last one left under way, while
    the TRUNCATE between two tests takes its locks in another order: PostgreSQL ends one of both.
    """
    empty = BaseDatabaseOperations.execute_sql_flush

    def empty_again(operations: BaseDatabaseOperations, statements: list[str]) -> None:
        for _attempt in range(5):
            try:
                return empty(operations, statements)
            except OperationalError as error:
                if not isinstance(error.__cause__, DeadlockDetected):
                    raise
        return empty(operations, statements)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseDatabaseOperations, "execute_sql_flush", empty_again)
        yield
