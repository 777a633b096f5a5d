"""``enroll``: the one request without a credential, so its failures are counted by source."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from agents_app.gateway.database import DatabaseAway
from agents_app.gateway.http import Problem, Response, busy, invalid, json_response
from agents_app.gateway.messages import fault_of
from agents_app.services.enrollment import enroll, record_refusal
from devops_manager.lib.client_address import neighborhood
from devops_manager.lib.errors import DomainError, Forbidden

if TYPE_CHECKING:
    from agents_app.gateway.database import DatabaseThreads
    from agents_app.gateway.messages import EnrollMessage

logger = logging.getLogger(__name__)

FAILURES_ALLOWED = 10
FAILURE_SECONDS = 60.0
_MAX_SOURCES = 10_000


class Enrollments:
    """Serves ``enroll``, one at a time, and slows down who guesses tokens."""

    def __init__(self, database: DatabaseThreads) -> None:
        """``database`` has one thread of its own, so that a storm of new hosts delays no poll."""
        self._database = database
        self._failures: dict[str, tuple[float, int]] = {}

    async def serve(self, message: EnrollMessage, source_ip: str | None) -> Response:
        """Enrol one machine. Raises Problem for a refusal, DatabaseAway."""
        source = neighborhood(source_ip) or ""
        self._refuse_guessing(source)
        fault = fault_of(message.facts)
        if fault:
            raise invalid(fault, "facts")
        try:
            enrolled = await self._database.run(
                enroll,
                token=message.token,
                hostname=message.hostname,
                os=message.os,
                arch=message.arch,
                machine_id=message.machine_id,
                agent_version=message.agent_version,
                ip=message.ip,
                facts=message.facts,
                source_ip=source_ip,
            )
        except Forbidden as error:
            self._count_failure(source)
            await self._audit_refusal(message, source_ip, source)
            raise Problem(401, error.code, str(error.detail)) from None
        except DomainError as error:
            field = next(iter(error.fields), "")
            raise Problem(400, error.code, str(error.detail), field=field) from None
        return json_response(
            {
                "host_id": enrolled.host_id,
                "credential": enrolled.credential,
                "status": str(enrolled.status),
            },
            201,
        )

    async def _audit_refusal(
        self, message: EnrollMessage, source_ip: str | None, source: str
    ) -> None:
        try:
            await self._database.run(
                record_refusal,
                token=message.token,
                hostname=message.hostname,
                source_ip=source_ip,
                source=source,
            )
        except DatabaseAway as error:
            logger.warning("a refused enrollment from %s was not audited: %s", source, error)

    def _refuse_guessing(self, source: str) -> None:
        since, count = self._failures.get(source, (0.0, 0))
        left = since + FAILURE_SECONDS - time.monotonic()
        if count >= FAILURES_ALLOWED and left > 0:
            raise busy(int(left) + 1, status=429)

    def _count_failure(self, source: str) -> None:
        now = time.monotonic()
        since, count = self._failures.get(source, (now, 0))
        if since + FAILURE_SECONDS <= now:
            since, count = now, 0
        self._failures.pop(source, None)
        if len(self._failures) >= _MAX_SOURCES:  # the one that has been quiet longest
            del self._failures[next(iter(self._failures))]
        self._failures[source] = (since, count + 1)
