"""What a poll is answered with: commands to run, fences to cancel, the agent's configuration."""

from __future__ import annotations

import time
from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec
from django.conf import settings

from agents_app.gateway.http import Response

if TYPE_CHECKING:
    from tasks_app.records import Answer, DeliveredCommand, Delivery

LIVE_CHUNK_BYTES = 64 * 1024
# One command goes to thousands of hosts, so it is encoded once; each may have 64 KiB.
_ENCODED_COMMANDS = 64

_encode = msgspec.json.Encoder().encode


class PollAnswers:
    """Makes answers; what all of them say is encoded once."""

    def __init__(self) -> None:
        """Read the settings."""
        same = {
            "poll_hold_seconds": settings.DM_POLL_HOLD_SECONDS,
            "live_interval_seconds": settings.DM_LIVE_INTERVAL_SECONDS,
            "live_chunk_bytes": LIVE_CHUNK_BYTES,
            "upload_grace_seconds": settings.DM_UPLOAD_GRACE_SECONDS,
        }
        self._same = _encode(same)[:-1]

    def response(self, answer: Answer) -> Response:
        """Return an answer as it goes to the agent."""
        body = (
            b'{"commands":[%s],"cancel":%s,"config":%s,"max_concurrency":%d,"hostname":%s,"server_time":%s}}'
            % (
                b",".join([_delivery(delivery) for delivery in answer.commands]),
                _encode(answer.cancel) if answer.cancel else b"[]",
                self._same,
                answer.max_concurrency,
                _encode(answer.hostname),
                _encode(time.time()),
            )
        )
        return Response(200, body)


def _delivery(delivery: Delivery) -> bytes:
    own = b'{"fence":"%s","attempt":%d,' % (str(delivery.fence).encode(), delivery.attempt)
    return own + _shared(delivery.command)


@lru_cache(_ENCODED_COMMANDS)
def _shared(command: DeliveredCommand) -> bytes:
    """Return what all hosts are told of a command, without the brace that opens the object."""
    fields = {
        **msgspec.structs.asdict(command),
        "kill_grace_seconds": settings.DM_KILL_GRACE_SECONDS,
        "output_cap_bytes": settings.DM_OUTPUT_CAP_BYTES,
    }
    return _encode(fields)[1:]
