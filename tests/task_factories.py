"""Makes people, tokens and task bodies for tests of the tasks API."""

from __future__ import annotations

from typing import Any

from django.test import Client

from devops_manager.access.actors import Actor
from devops_manager.access.models import AuditEvent, Role, User
from hosts_app.models import Host, HostGroup, HostGroupGrant, HostGroupMember


def make_user(role: Role = Role.ADMIN, name: str = "") -> User:
    """Create a person of a role."""
    return User.objects.create(username=name or f"the-{role.value}", role=role)


def actor_for(user: User) -> Actor:
    """Return the person as services see them."""
    return Actor(
        kind=AuditEvent.ActorKind.PERSON,
        name=user.username,
        role=Role(user.role),
        user_id=user.pk,
    )


class Api:
    """Speaks to /api/v1 as one person; without one, as nobody."""

    def __init__(self, user: User | None = None) -> None:
        self.client = Client(raise_request_exception=True)
        if user is not None:
            self.client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")

    def get(self, path: str, **query: Any) -> Any:
        """GET below /api/v1/."""
        return self.client.get(f"/api/v1/{path}", query)

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Send a JSON body below /api/v1/."""
        return self.client.generic(
            method,
            f"/api/v1/{path}",
            *self._encoded(body),
            headers=headers,
        )

    def _encoded(self, body: Any) -> tuple[Any, ...]:
        if body is None:
            return ("", "application/json")
        encoded = (
            body if isinstance(body, bytes) else self.client._encode_json(body, "application/json")
        )
        return (encoded, "application/json")

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        """POST below /api/v1/."""
        return self.send("POST", path, body, **headers)


def body_for(*hosts: Host, **fields: Any) -> dict[str, Any]:
    """Return the body of a task for exactly these hosts."""
    return {
        "name": "disk usage",
        "target": {"hosts": [str(host.host_id) for host in hosts]},
        "commands": [{"body": "df -h"}],
        **fields,
    }


def grant(user: User, hosts: list[Host], name: str = "web") -> HostGroup:
    """Put hosts into a group and let an operator run tasks on it."""
    group = HostGroup.objects.create(name=name)
    HostGroupMember.objects.bulk_create(HostGroupMember(group=group, host=h) for h in hosts)
    HostGroupGrant.objects.create(user=user, group=group)
    return group
