"""Tells the gateways, over one Redis channel, which hosts to look at and which to forget.

A message is a hint: lost, doubled or late it costs time, never correctness.
"""

from __future__ import annotations

import json
import logging
from functools import cache
from typing import TYPE_CHECKING

import redis
from django.conf import settings
from django.db import transaction

from devops_manager.lib.background import Background

if TYPE_CHECKING:
    from collections.abc import Iterable

logger = logging.getLogger(__name__)

_background = Background("announce")
_HOSTS_PER_MESSAGE = 1000


@cache
def _client() -> redis.Redis:
    return redis.Redis.from_url(
        settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=0.5, retry=None
    )


def wake(hosts: Iterable[int]) -> None:
    """After the commit, tell the gateways that these hosts (primary keys) may have work."""
    _after_commit("wake", list(hosts))


def slot_free(hosts: Iterable[int]) -> None:
    """Tell the gateways that these hosts ended commands: work may have waited for their slots."""
    _after_commit("free", list(hosts))


def revoke(hosts: Iterable[int]) -> None:
    """After the commit, tell all gateways to forget what they know of these hosts' credentials."""
    _after_commit("revoke", list(hosts))


def _after_commit(kind: str, hosts: list[int]) -> None:
    if hosts:
        transaction.on_commit(lambda: _submit(kind, hosts))


def _submit(kind: str, hosts: list[int]) -> None:
    _background.submit(lambda: _publish(kind, hosts))


def _publish(kind: str, hosts: list[int]) -> None:
    try:
        for start in range(0, len(hosts), _HOSTS_PER_MESSAGE):
            message = json.dumps({kind: hosts[start : start + _HOSTS_PER_MESSAGE]})
            _client().publish(settings.DM_WAKE_CHANNEL, message)
    except redis.RedisError as error:
        logger.warning("no wake for %d hosts, they will be found later: %s", len(hosts), error)
