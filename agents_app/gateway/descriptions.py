"""What polls tell of their hosts when it changed: checked, and written in batches."""

from __future__ import annotations

import ipaddress
import logging
from typing import TYPE_CHECKING

from agents_app.gateway.database import DatabaseAway
from agents_app.gateway.group_commit import GroupCommit
from agents_app.gateway.http import invalid
from agents_app.gateway.messages import fault_of
from hosts_app.services import Description, record_descriptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agents_app.gateway.authentication import Caller
    from agents_app.gateway.database import DatabaseThreads
    from agents_app.gateway.messages import HostMessage

logger = logging.getLogger(__name__)

_FIELD = "host"  # of a poll


class Descriptions:
    """Collects descriptions while the batch before is being written."""

    def __init__(self, database: DatabaseThreads, *, batch_limit: int) -> None:
        """Start with none."""
        self._database = database
        self._batches = GroupCommit(self._write, limit=batch_limit)

    def note(self, caller: Caller, message: HostMessage) -> None:
        """Write what a host is like soon. Raises Problem for what cannot be stored.

        One that is lost is told again when the agent starts, and when it changes.
        """
        fault = fault_of(message.facts) if message.facts is not None else None
        if fault:
            raise invalid(fault, f"{_FIELD}.facts")
        self._batches.add(
            Description(
                host=caller.host,
                hostname=message.hostname,
                os=message.os,
                arch=message.arch,
                ip=_address(message.ip),
                facts=message.facts,
            )
        )

    async def _write(self, batch: Sequence[Description]) -> None:
        try:
            await self._database.run(record_descriptions, batch)
        except DatabaseAway as error:
            logger.warning("%d descriptions of hosts were not written: %s", len(batch), error)


def _address(text: str | None) -> str | None:
    """The address without a scope, which PostgreSQL does not store."""
    if text is None:
        return None
    try:
        return str(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        raise invalid("this is not an IP address", f"{_FIELD}.ip") from None
