"""The states of a host, and which may follow which, as data."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _


class HostStatus(models.TextChoices):
    """Whether a host may be given work."""

    PENDING = "pending", _("Pending approval")
    ACTIVE = "active", _("Active")
    DISABLED = "disabled", _("Disabled")
    RETIRED = "retired", _("Retired")


# A retired host comes back to where it was (Host.retired_from).
HOST_TRANSITIONS: dict[str, frozenset[str]] = {
    HostStatus.PENDING: frozenset({HostStatus.ACTIVE, HostStatus.DISABLED, HostStatus.RETIRED}),
    HostStatus.ACTIVE: frozenset({HostStatus.DISABLED, HostStatus.RETIRED}),
    HostStatus.DISABLED: frozenset({HostStatus.ACTIVE, HostStatus.RETIRED}),
    HostStatus.RETIRED: frozenset({HostStatus.PENDING, HostStatus.ACTIVE, HostStatus.DISABLED}),
}
