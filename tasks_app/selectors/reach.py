"""What was revoked stops what was prepared: a task runs where its creator may run it now.

A task keeps the groups that its creator could reach when it was created. Before it runs they are
cut down to those that the creator still has; the hosts that fall out are named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.utils.translation import gettext as _

from devops_manager.access.actors import role_of
from devops_manager.access.models import User
from devops_manager.access.permissions import OPERATORS
from devops_manager.lib.errors import Conflict
from hosts_app.models import Host
from hosts_app.selectors import groups_of_person, hosts_within

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tasks_app.models import Task

_NAMED_AT_MOST = 20


def groups_left(task: Task) -> list[int] | None:
    """Return the groups that a task may still reach: None all.

    The stored ones less those that the creator has no more. Tasks of the system have no creator
    and reach every host. Raises Conflict ``creator_gone``, ``creator_inactive`` and
    ``creator_may_not_run``.
    """
    stored: list[int] | None = task.allowed_groups
    creator = User.objects.filter(pk=task.created_by_id).first() if task.created_by_id else None
    if creator is None:
        if stored is None:
            return None
        raise Conflict(_("The task's creator is gone; copy the task."), code="creator_gone")
    if not creator.is_active:
        raise Conflict(
            _("The task's creator is not active any more; copy the task."), code="creator_inactive"
        )
    if role_of(creator) not in OPERATORS:
        raise Conflict(
            _("The task's creator may not run tasks any more; copy the task."),
            code="creator_may_not_run",
        )
    now = groups_of_person(creator)
    if now is None:
        return stored
    return now if stored is None else sorted(set(stored) & set(now))


def split_reachable(
    hosts: Sequence[int], *, groups: Sequence[int] | None
) -> tuple[list[int], dict[str, Any] | None]:
    """Return the hosts within the groups, and what a task keeps of those that fell out.

    ``{"count": 3, "hosts": [{"host_id": "…", "hostname": "web-1"}, …]}``, at most 20 of them named.
    Raises Conflict ``grants_revoked`` naming them when none is left.
    """
    if groups is None:
        return list(hosts), None
    within = hosts_within(hosts, groups=groups)
    kept = [host for host in hosts if host in within]
    fallen = [host for host in hosts if host not in within]
    if not fallen:
        return kept, None
    named = Host.objects.filter(pk__in=fallen).order_by("hostname", "pk")
    rows = named.values_list("host_id", "hostname")[:_NAMED_AT_MOST]
    left_out = {
        "count": len(fallen),
        "hosts": [{"host_id": str(host_id), "hostname": hostname} for host_id, hostname in rows],
    }
    if not kept:
        raise _nothing_left(left_out)
    return kept, left_out


def _nothing_left(left_out: dict[str, Any]) -> Conflict:
    names = [f"{host['hostname']} ({host['host_id']})" for host in left_out["hosts"]]
    more = left_out["count"] - len(names)
    if more:
        names.append(_("and %(count)d more") % {"count": more})
    return Conflict(
        _("No host is left: the grants of the task's creator were revoked."),
        code="grants_revoked",
        fields={"target": names},
    )
