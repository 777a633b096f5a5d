"""Makes the records that tests begin with: hosts with credentials, tokens, started tasks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agents_app.models import EnrollmentToken
from agents_app.services.credentials import issue_credential
from devops_manager.lib.secrets import new_secret
from hosts_app.models import Host, HostGroup
from hosts_app.states import HostStatus
from tests.queue_world import make_task, start, started_task

__all__ = ["EnrolledHost", "make_enrolled_host", "make_host", "make_task", "make_token"]
__all__ += ["start", "started_task"]


@dataclass(frozen=True)
class EnrolledHost:
    """A host and the credential of its agent."""

    host: Host
    credential: str


def make_host(hostname: str = "web-1", **fields: Any) -> Host:
    """Create a host, active unless ``status`` says otherwise."""
    return Host.objects.create(hostname=hostname, **{"status": HostStatus.ACTIVE, **fields})


def make_enrolled_host(hostname: str = "web-1", **fields: Any) -> EnrolledHost:
    """Create a host whose agent has a credential."""
    host = make_host(hostname, **fields)
    return EnrolledHost(host, issue_credential(host=host))


def make_token(*, groups: tuple[HostGroup, ...] = (), **fields: Any) -> tuple[EnrollmentToken, str]:
    """Create an enrolment token; return it and its secret."""
    secret = new_secret("dme")
    token = EnrollmentToken.objects.create(
        name="a token", prefix=secret.prefix, secret_hash=secret.hash, **fields
    )
    token.groups.set(groups)
    return token, secret.plain
