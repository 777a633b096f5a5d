"""Who sends a request: bearer credentials, cached in process for a short time.

A cached credential saves a query a request, never a check: every look-up and report statement holds
the host's state and the credential's generation against the host once more, so a revocation holds
even where no revoke message arrives.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from hmac import compare_digest
from typing import TYPE_CHECKING
from uuid import UUID

from agents_app import protocol
from agents_app.gateway.database import DatabaseAway, detached
from agents_app.gateway.group_commit import GroupCommit
from agents_app.gateway.http import Problem
from agents_app.services.credentials import StoredCredential, find_credentials
from devops_manager.lib import secrets
from hosts_app.states import HostStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from agents_app.gateway.database import DatabaseThreads

# A host that waits for a person notices within this time that it need not wait any more.
WAITING_CACHE_SECONDS = 1.0
UNKNOWN_CACHE_SECONDS = 2.0
# Unknown prefixes come from anybody; this bounds what they may take.
_MAX_CACHED = 100_000
# Where agents have it; who writes the header another way is proved anew each time.
_PREFIX_AT = len(f"Bearer {protocol.CREDENTIAL_PREFIX}")
_PREFIX_IN_HEADER = slice(_PREFIX_AT, _PREFIX_AT + secrets.PREFIX_LENGTH)
WAITING_RETRY_SECONDS = 5
_STOPPED_RETRY_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Caller:
    """A host whose agent proved its credential of one generation."""

    host: int
    host_id: UUID
    generation: int


@dataclass(slots=True)
class _Known:
    """A credential as it is stored, and the caller that who proves it is.

    ``waits``: its host may not be served now.
    """

    stored: StoredCredential
    caller: Caller
    waits: bool


@dataclass(slots=True)
class _Entry:
    """``proved`` is the header that proved the credential, as it came: the next is held against it.

    Who reads this process's memory finds it in the requests as well.
    """

    known: _Known | None
    good_until: float
    proved: bytes = b""


@dataclass(slots=True)
class _Wanted:
    prefix: str
    answer: asyncio.Future[_Known | None]


def unauthorized() -> Problem:
    """Return the answer to a credential that is unknown, replaced or revoked."""
    return Problem(
        401,
        protocol.CODE_CREDENTIAL_INVALID,
        "the credential is unknown, replaced or revoked",
        headers=((b"www-authenticate", b"Bearer"),),
    )


def host_pending() -> Problem:
    """Return the answer to a host that nobody has approved yet."""
    return Problem(
        403,
        protocol.CODE_HOST_PENDING,
        "the host waits for approval",
        retry_after_seconds=WAITING_RETRY_SECONDS,
    )


def host_disabled() -> Problem:
    """Return the answer to a host that is out of service."""
    return Problem(
        403,
        protocol.CODE_HOST_DISABLED,
        "the host is disabled",
        retry_after_seconds=_STOPPED_RETRY_SECONDS,
    )


def host_quarantined() -> Problem:
    """Return the answer to a host whose identity two agents share."""
    return Problem(
        403,
        protocol.CODE_HOST_QUARANTINED,
        "two agents share this host's identity; a person has to look",
        retry_after_seconds=_STOPPED_RETRY_SECONDS,
    )


class Authentication:
    """Proves credentials; asks the database for many unknown ones at once."""

    def __init__(
        self, database: DatabaseThreads, *, cache_seconds: float, batch_limit: int
    ) -> None:
        """Start with nothing cached; an active host's entry is good for ``cache_seconds``."""
        self._database = database
        self._cache_seconds = cache_seconds
        self._entries: dict[str, _Entry] = {}
        self._prefixes: dict[int, str] = {}
        self._revocations = 0
        self._wanted: dict[str, asyncio.Future[_Known | None]] = {}
        self._lookups = GroupCommit(self._look_up, limit=batch_limit)

    def recognize(self, authorization: bytes) -> Caller | None:
        """Return who proved to be whom a moment ago and may be served; None for anybody else."""
        entry = self._entries.get(authorization[_PREFIX_IN_HEADER].decode("latin-1"))
        if (
            entry is not None
            and (known := entry.known) is not None
            and not known.waits
            and entry.good_until > time.monotonic()
            and compare_digest(authorization, entry.proved)
        ):
            return known.caller
        return None

    async def identify(self, authorization: bytes) -> tuple[Caller, Problem | None]:
        """Return who proves to be whom, and why that host may not be served, if it may not.

        Raises Problem (401) for anybody unknown, DatabaseAway when that cannot be told.
        """
        plain = _bearer(authorization)
        prefix = secrets.split(plain, protocol.CREDENTIAL_PREFIX)
        if prefix is None:
            raise unauthorized()
        known = await self._find(prefix)
        if (
            known is None
            or not secrets.matches(plain, known.stored.secret_hash)
            or known.stored.generation != known.stored.host_generation
            or known.stored.status == HostStatus.RETIRED
        ):
            raise unauthorized()
        entry = self._entries.get(prefix)
        if entry is not None and entry.known is known:
            entry.proved = authorization
        return known.caller, _reason_to_wait(known.stored)

    def forget(self, hosts: Iterable[int]) -> None:
        """Drop what is cached of these hosts, and do not cache what is being read just now."""
        self._revocations += 1
        for host in hosts:
            prefix = self._prefixes.pop(host, None)
            if prefix is not None:
                self._entries.pop(prefix, None)

    async def _find(self, prefix: str) -> _Known | None:
        entry = self._entries.get(prefix)
        if entry is not None and entry.good_until > time.monotonic():
            return entry.known
        if prefix not in self._wanted:
            self._wanted[prefix] = asyncio.get_running_loop().create_future()
            self._lookups.add(_Wanted(prefix, self._wanted[prefix]))
        # Many requests may wait for one answer; one that gives up must not take it from the rest.
        # (Not by a name of its own: it may get an error, which has this frame.)
        return await asyncio.shield(self._wanted[prefix])

    async def _look_up(self, batch: Sequence[_Wanted]) -> None:
        asked_at = time.monotonic()
        revocations = self._revocations
        try:
            found = await self._database.run(find_credentials, [item.prefix for item in batch])
        except Exception as error:  # noqa: BLE001 - whatever it is, nobody may be left waiting
            self._fail(batch, error)
            return
        if len(self._entries) + len(batch) > _MAX_CACHED:
            self._entries.clear()
            self._prefixes.clear()
        for item in batch:
            stored = found.get(item.prefix)
            known = None if stored is None else _known(stored)
            if revocations == self._revocations:
                self._keep(item.prefix, known, asked_at)
            self._wanted.pop(item.prefix, None)
            item.answer.set_result(known)

    def _fail(self, batch: Sequence[_Wanted], error: Exception) -> None:
        for item in batch:
            self._wanted.pop(item.prefix, None)
            item.answer.set_exception(
                detached(error) if isinstance(error, DatabaseAway) else RuntimeError(str(error))
            )
            item.answer.exception()  # whoever waited may have left

    def _keep(self, prefix: str, known: _Known | None, asked_at: float) -> None:
        if known is None:
            seconds = UNKNOWN_CACHE_SECONDS
        elif known.waits:
            seconds = WAITING_CACHE_SECONDS
        else:
            seconds = self._cache_seconds
        if seconds <= 0:
            return
        if known is not None:
            self._prefixes[known.stored.host] = prefix
        self._entries[prefix] = _Entry(known, asked_at + seconds)


def _known(stored: StoredCredential) -> _Known:
    caller = Caller(host=stored.host, host_id=stored.host_id, generation=stored.generation)
    return _Known(stored, caller, _reason_to_wait(stored) is not None)


def _bearer(authorization: bytes) -> str:
    scheme, _space, credential = authorization.partition(b" ")
    if scheme.lower() != b"bearer":
        raise unauthorized()
    return credential.strip().decode("latin-1")


def _reason_to_wait(stored: StoredCredential) -> Problem | None:
    if stored.quarantined:
        return host_quarantined()
    if stored.status == HostStatus.PENDING:
        return host_pending()
    if stored.status != HostStatus.ACTIVE:
        return host_disabled()
    return None
