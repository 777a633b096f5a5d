"""Caches in Redis whose values can always be rebuilt from PostgreSQL.

Keys in Redis are exactly those of docs/architecture.md. Values are encoded bytes, so that a hit
costs no serialisation. With Redis away every read is a miss and every write a no-op.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.core.cache import cache
from django_redis.serializers.base import BaseSerializer

if TYPE_CHECKING:
    from collections.abc import Mapping


def plain_key(key: str, _prefix: str, _version: int) -> str:
    """Return the key as it is: django-redis adds no prefix and no version (``KEY_FUNCTION``)."""
    return key


class BytesSerializer(BaseSerializer):
    """Stores bytes as they are; counters stay the integers that Redis counts with."""

    def dumps(self, value: Any) -> bytes:
        """Return ``value``, which must be bytes."""
        if not isinstance(value, bytes):
            raise TypeError(f"only bytes are cached, not {type(value).__name__}")
        return value

    def loads(self, value: bytes) -> Any:
        """Return the stored bytes."""
        return value


def get_bytes(key: str) -> bytes | None:
    """Return the cached bytes, or None when there are none or Redis is away."""
    value = cache.get(key)
    return value if isinstance(value, bytes) else None


def set_bytes(key: str, value: bytes, *, seconds: int) -> None:
    """Keep ``value`` for ``seconds``; does nothing when Redis is away."""
    cache.set(key, value, timeout=seconds)


def get_many(*keys: str) -> dict[str, bytes]:
    """Return those of the keys that are cached, read in one round trip; none when Redis is away."""
    found = cache.get_many(keys) or {}
    return {key: value for key, value in found.items() if isinstance(value, bytes)}


def set_many(values: Mapping[str, bytes]) -> None:
    """Keep these values until they are set again, in one round trip; no-op when Redis is away."""
    cache.set_many(dict(values), timeout=None)


def drop(*keys: str) -> None:
    """Forget these keys; does nothing when Redis is away."""
    if keys:
        cache.delete_many(list(keys))
