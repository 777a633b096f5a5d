"""Credentials of agents: issued once, looked up by prefix, good for one generation of a host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from agents_app import protocol
from agents_app.models import AgentCredential
from devops_manager.lib.secrets import new_secret

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agents_app.models import EnrollmentToken
    from hosts_app.models import Host


@dataclass(frozen=True, slots=True)
class StoredCredential:
    """What is known of one credential. It is good while both generations are equal."""

    host: int
    host_id: UUID
    status: str
    quarantined: bool
    secret_hash: bytes
    generation: int
    host_generation: int


def issue_credential(*, host: Host, enrolled_with: EnrollmentToken | None = None) -> str:
    """Give a host a new credential in place of any other, and return it: it is shown only now.

    Runs in the caller's transaction, which holds the host's row; the audit event is the caller's.
    """
    secret = new_secret(protocol.CREDENTIAL_PREFIX)
    AgentCredential.objects.update_or_create(
        host=host,
        defaults={
            "prefix": secret.prefix,
            "secret_hash": secret.hash,
            "generation": host.credential_generation,
            "enrolled_with": enrolled_with,
        },
    )
    return secret.plain


def find_credentials(prefixes: Iterable[str]) -> dict[str, StoredCredential]:
    """Return what is stored under these prefixes, in one query; unknown ones are left out."""
    rows = AgentCredential.objects.filter(prefix__in=list(prefixes)).values_list(
        "prefix",
        "host_id",
        "host__host_id",
        "host__status",
        "host__quarantined_at",
        "secret_hash",
        "generation",
        "host__credential_generation",
    )
    return {
        prefix: StoredCredential(
            host=host,
            host_id=host_id,
            status=status,
            quarantined=quarantined_at is not None,
            secret_hash=bytes(secret_hash),
            generation=generation,
            host_generation=host_generation,
        )
        for (
            prefix,
            host,
            host_id,
            status,
            quarantined_at,
            secret_hash,
            generation,
            host_generation,
        ) in rows.iterator()
    }
