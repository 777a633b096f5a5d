"""Who acts: a person, a script's token, an agent, or the system itself."""

from __future__ import annotations

from dataclasses import dataclass

from devops_manager.access.models import AuditEvent, Role


@dataclass(frozen=True, slots=True)
class Actor:
    """One who acts, as services and the audit trail need it.

    ``name`` is a username, ``token:<prefix> (<owner>)``, ``agent:<host_id>`` or ``system``.
    ``user_id`` is the person's, or the token owner's, primary key; None for agents and the system.
    ``role`` is the narrower of the token's and its owner's.
    """

    kind: AuditEvent.ActorKind
    name: str
    role: Role
    user_id: int | None = None
    source_ip: str | None = None


SYSTEM = Actor(kind=AuditEvent.ActorKind.SYSTEM, name="system", role=Role.ADMIN)
