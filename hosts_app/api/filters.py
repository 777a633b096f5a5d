"""What lists of hosts can be narrowed by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import django_filters
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field

from devops_manager.lib.filters import AnyOfFilter, EveryTextFilter
from hosts_app.models import Host, HostGroup
from hosts_app.selectors import offline_hosts, online_hosts, without_retired
from hosts_app.states import HostStatus

if TYPE_CHECKING:
    from django.db.models import QuerySet

_ORDERS = ("hostname", "-hostname", "created_at", "-created_at")
_LENGTH = 253


@extend_schema_field({"type": "string", "enum": ["true", "false"]})
class _YesNoFilter(django_filters.ChoiceFilter):
    """true or false, and nothing else."""


class HostFilter(django_filters.FilterSet):
    """All conditions hold together. ``status`` given several times: any; ``tag``: all of them.

    Retired hosts are listed only where ``status`` asks for them.
    """

    status = AnyOfFilter(choices=HostStatus.choices)
    online = _YesNoFilter(
        choices=[("true", _("online")), ("false", _("offline"))], method="by_online"
    )
    quarantined = _YesNoFilter(
        choices=[("true", _("quarantined")), ("false", _("not quarantined"))],
        method="by_quarantine",
    )
    draining = _YesNoFilter(
        choices=[("true", _("draining")), ("false", _("not draining"))], method="by_draining"
    )
    group = django_filters.CharFilter(method="by_group", max_length=128)
    tag = EveryTextFilter(method="by_tag", max_length=64)
    hostname = django_filters.CharFilter(
        max_length=_LENGTH, help_text="The whole name, as it is shown."
    )
    search = django_filters.CharFilter(method="by_search", max_length=_LENGTH)
    ordering = django_filters.ChoiceFilter(
        choices=[(order, order) for order in _ORDERS], method="by_order"
    )

    def filter_queryset(self, queryset: QuerySet[Host]) -> QuerySet[Host]:
        """Narrow to what is asked for, without retired hosts unless it is those."""
        hosts = super().filter_queryset(queryset)
        return hosts if self.form.cleaned_data.get("status") else without_retired(hosts)

    def by_online(self, hosts: QuerySet[Host], _name: str, value: str) -> QuerySet[Host]:
        """Narrow to hosts that are online, or not."""
        return online_hosts(hosts) if value == "true" else offline_hosts(hosts)

    def by_quarantine(self, hosts: QuerySet[Host], _name: str, value: str) -> QuerySet[Host]:
        """Narrow to hosts that are quarantined, or not."""
        return hosts.filter(quarantined_at__isnull=value == "false")

    def by_draining(self, hosts: QuerySet[Host], _name: str, value: str) -> QuerySet[Host]:
        """Narrow to hosts whose agents said that they drain, or not."""
        draining = Q(heartbeat__draining=True)
        return hosts.filter(draining if value == "true" else ~draining)

    def by_group(self, hosts: QuerySet[Host], _name: str, value: str) -> QuerySet[Host]:
        """Narrow to members of a group; of an unknown group there are none."""
        group = HostGroup.objects.filter(name=value).first()
        if group is None:
            return hosts.none()
        return hosts.filter(pk__in=group.hosts.through.objects.filter(group=group).values("host"))

    def by_tag(self, hosts: QuerySet[Host], _name: str, value: list[str]) -> QuerySet[Host]:
        """Narrow to hosts that have every tag given."""
        return hosts.filter(tags__has_keys=value)

    def by_search(self, hosts: QuerySet[Host], _name: str, value: str) -> QuerySet[Host]:
        """Narrow to hosts whose name contains the text, or whose address begins with it."""
        return hosts.filter(Q(hostname__icontains=value) | Q(ip__startswith=value))

    def by_order(self, hosts: QuerySet[Host], _name: str, value: str) -> QuerySet[Host]:
        """Order the list; equals in the order of their age."""
        return hosts.order_by(value, "-id" if value.startswith("-") else "id")


class GroupFilter(django_filters.FilterSet):
    """What lists of groups can be narrowed by."""

    name = django_filters.CharFilter(lookup_expr="icontains", max_length=128)
