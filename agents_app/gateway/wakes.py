"""Listens on the Redis channel for hosts to look at and credentials to forget; asks, too.

Redis may be away: the subscription is tried again for ever, nothing waits for it, and a query every
few seconds finds what no wake was heard for.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from contextlib import suppress
from typing import TYPE_CHECKING

import redis
import redis.asyncio
from django.conf import settings
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from agents_app.gateway.database import DatabaseAway
from tasks_app.services import dispatch

if TYPE_CHECKING:
    from redis.asyncio.client import PubSub

    from agents_app.gateway.authentication import Authentication
    from agents_app.gateway.database import DatabaseThreads
    from agents_app.gateway.lobby import Lobby
    from agents_app.gateway.polls import Polls
    from agents_app.gateway.waiters import Hosts

logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 3.0
# After this long without a message Redis is asked whether it lives, and given up after as long.
_SILENCE_SECONDS = 5.0
_BACKOFF_SECONDS = (0.2, 5.0)


class Subscription:
    """One process's subscription to wakes and revocations."""

    def __init__(self, polls: Polls, authentication: Authentication, lobby: Lobby) -> None:
        """Keep whom to tell; ``connected`` says whether wakes are heard now."""
        self._lobby = lobby
        self._polls = polls
        self._authentication = authentication
        self.connected = False

    async def run(self) -> None:
        """Listen until cancelled, connecting again for as long as it takes."""
        pause = _BACKOFF_SECONDS[0]
        while True:
            try:
                await self._listen()
            except (redis.RedisError, OSError, TimeoutError) as error:
                if self.connected:
                    pause = _BACKOFF_SECONDS[0]
                    logger.warning("wakes are not heard: %s", str(error) or type(error).__name__)
            except Exception:
                # A defect in here may cost wakes, never the polls that are held.
                logger.exception("the subscription failed")
            self.connected = False
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause = min(pause * 2, _BACKOFF_SECONDS[1])

    async def _listen(self) -> None:
        # A client of its own: redis-py's usual time-outs and retries are wrong for a subscription.
        client = redis.asyncio.Redis.from_url(
            settings.REDIS_URL,
            socket_timeout=None,
            socket_connect_timeout=_CONNECT_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        try:
            async with client.pubsub() as pubsub:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    await pubsub.subscribe(settings.DM_WAKE_CHANNEL)
                await self._hear(pubsub)
        finally:
            with suppress(redis.RedisError, OSError):
                await client.aclose()

    async def _hear(self, pubsub: PubSub) -> None:
        asked = False
        while True:
            message = await pubsub.get_message(timeout=_SILENCE_SECONDS)
            if message is None:
                if asked:
                    raise TimeoutError("Redis does not answer")
                asked = True
                async with asyncio.timeout(_SILENCE_SECONDS):
                    await pubsub.ping()
                continue
            asked = False
            if message["type"] == "subscribe":
                self.connected = True
                logger.info("wakes are heard")
                self._polls.hint_all()
            elif message["type"] == "message":
                self._obey(message["data"])

    def _obey(self, data: bytes) -> None:
        try:
            message = json.loads(data)
            wake = [int(host) for host in message.get("wake", ())]
            free = [int(host) for host in message.get("free", ())]
            revoke = [int(host) for host in message.get("revoke", ())]
        except (ValueError, TypeError, AttributeError):
            logger.warning("a wake that cannot be read: %.100r", data)
            return
        self._authentication.forget(revoke)
        self._polls.hint(wake)
        self._polls.slot_free(free)
        # A look-up tells a poll of a revoked host so.
        self._polls.hint(revoke)
        # And one that was told to wait may be served now.
        self._lobby.look(revoke)


async def ask_for_work(database: DatabaseThreads, hosts: Hosts, polls: Polls) -> None:
    """Every few seconds, find held hosts that have something to be told, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(settings.DM_PENDING_QUERY_SECONDS)
        hosts.forget_idle(loop.time())
        held = hosts.held()
        if not held:
            continue
        try:
            polls.hint(await database.run(dispatch.hosts_with_work, held))
        except DatabaseAway as error:
            logger.warning("the query for pending work failed: %s", error)
        except Exception:
            # a defect; the next round may well succeed
            logger.exception("the query for pending work failed")
