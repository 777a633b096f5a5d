"""Reads settings from the environment: a wrong value stops the process with one clear line."""

from __future__ import annotations

import os
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from devops_manager.lib.client_address import Proxies

_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off", ""}


def text(name: str, default: str | None = None) -> str:
    """Return the variable, or ``default``; without a default it must be set and not empty."""
    value = os.environ.get(name, "")
    if value:
        return value
    if default is None:
        raise ImproperlyConfigured(f"{name} must be set")
    return default


def flag(name: str, *, default: bool) -> bool:
    """Return a yes/no variable (1/0, true/false, yes/no, on/off)."""
    value = os.environ.get(name)
    if value is None:
        return default
    lowered = value.strip().lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    raise ImproperlyConfigured(f"{name} must be 1 or 0, not {value!r}")


def integer(name: str, default: int, *, low: int, high: int) -> int:
    """Return a whole number between ``low`` and ``high``, both included."""
    return int(_number(name, default, low=low, high=high, kind=int))


def seconds(name: str, default: float, *, low: float = 0.0, high: float = 31_536_000.0) -> float:
    """Return a duration in seconds between ``low`` and ``high``, both included."""
    return float(_number(name, default, low=low, high=high, kind=float))


def words(name: str, default: str = "") -> list[str]:
    """Return a comma-separated list without empty entries."""
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def proxies(name: str, given: list[str]) -> Proxies:
    """Return the trusted proxies that the words of a variable name."""
    try:
        return Proxies.parse(given)
    except ValueError as error:
        raise ImproperlyConfigured(
            f"{name} takes addresses, networks such as 10.0.0.0/8, and unix: {error}"
        ) from None


def _number(
    name: str, default: float, *, low: float, high: float, kind: type[int] | type[float]
) -> float:
    value = os.environ.get(name, "")
    if not value:
        return default
    try:
        number = kind(value)
    except ValueError:
        noun = "a whole number" if kind is int else "a number"
        raise ImproperlyConfigured(f"{name} must be {noun}, not {value!r}") from None
    if not low <= number <= high:
        raise ImproperlyConfigured(f"{name} must be between {low:g} and {high:g}, not {value}")
    return number


def postgres(name: str, default: str) -> dict[str, object]:
    """Turn ``postgresql://user:password@host:port/name?host=/socket/dir`` into settings."""
    url = text(name, default)
    parts = urlsplit(url)
    if parts.scheme not in {"postgres", "postgresql"} or not parts.path.strip("/"):
        raise ImproperlyConfigured(
            f"{name} must look like postgresql://user:password@host:5432/database"
        )
    try:
        port = parts.port
    except ValueError:
        raise ImproperlyConfigured(f"{name} has a port that is not a number") from None
    query = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "devops_manager.lib.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": query.pop("host", parts.hostname or ""),
        "PORT": str(query.pop("port", port or "")),
        "OPTIONS": dict(query),
    }


def redis(name: str, default: str) -> str:
    """Return a Redis URL (redis://, rediss:// or unix://)."""
    url = text(name, default)
    if urlsplit(url).scheme not in {"redis", "rediss", "unix"}:
        raise ImproperlyConfigured(f"{name} must begin with redis://, rediss:// or unix://")
    return url
