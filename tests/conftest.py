"""What every test gets. PostgreSQL and Redis come from devops_manager.embedded.pytest_plugin.

Each xdist worker has a PostgreSQL database and a Redis database of its own. The Redis database that
``REDIS_URL`` names is emptied before each test, so give the tests one that holds nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis
from django.conf import settings

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
