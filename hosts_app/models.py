"""Which machines exist, what they are like, and whether they are alive."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.indexes import GinIndex, OpClass
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Now, Upper
from django.utils.translation import gettext_lazy as _

from devops_manager.lib.decoding import CHARSETS, UTF_8
from devops_manager.lib.ids import uuid7
from devops_manager.lib.one_line import is_one_line, not_one_line, visible_text
from hosts_app.states import HostStatus


class HostGroup(models.Model):
    """One named set of hosts, as operators target and are granted them."""

    group_id = models.UUIDField(_("group id"), default=uuid7, unique=True, editable=False)
    name = models.CharField(_("name"), max_length=128, unique=True)
    description = models.CharField(_("description"), max_length=500, blank=True, default="")
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)

    class Meta:
        db_table = "host_groups"
        verbose_name = _("host group")
        verbose_name_plural = _("host groups")
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return visible_text(self.name)

    def clean(self) -> None:
        """Refuse, in the administration, the names that the services refuse."""
        if not is_one_line(self.name):
            raise ValidationError({"name": not_one_line()})


class Host(models.Model):
    """One managed machine. What changes with every heartbeat is in ``HostHeartbeat``.

    ``hostname`` is the name that is shown, sorted and searched by: ``display_name`` where a person
    fixed one, else ``reported_hostname``, the name that the agent said last.
    """

    host_id = models.UUIDField(_("host id"), default=uuid7, unique=True, editable=False)
    hostname = models.CharField(_("hostname"), max_length=253)
    display_name = models.CharField(
        _("display name"), max_length=253, blank=True, default="", db_default=""
    )
    reported_hostname = models.CharField(
        _("name on the host"), max_length=253, blank=True, default="", db_default="", editable=False
    )
    ip = models.GenericIPAddressField(_("IP address"), null=True, blank=True)
    os = models.CharField(_("operating system"), max_length=128, blank=True, default="")
    arch = models.CharField(_("architecture"), max_length=32, blank=True, default="")
    agent_version = models.CharField(_("agent version"), max_length=32, blank=True, default="")
    machine_id = models.CharField(_("machine id"), max_length=64, blank=True, default="")
    status = models.CharField(
        _("status"), max_length=16, choices=HostStatus.choices, default=HostStatus.PENDING
    )
    tags = models.JSONField(_("tags"), default=list, blank=True, help_text=_("A list of strings."))
    facts = models.JSONField(_("facts"), default=dict, blank=True)
    groups = models.ManyToManyField(
        HostGroup,
        through="HostGroupMember",
        related_name="hosts",
        blank=True,
        verbose_name=_("groups"),
    )
    max_concurrency = models.PositiveSmallIntegerField(_("commands at once"), default=5)
    output_charset = models.CharField(
        _("charset of output"),
        max_length=16,
        choices=[(name, name) for name in CHARSETS if name != UTF_8],
        blank=True,
        default="",
        db_default="",
        help_text=_("In which output is read unless another is chosen. Empty: UTF-8."),
    )
    credential_generation = models.PositiveIntegerField(
        _("credential generation"),
        default=1,
        editable=False,
        help_text=_("A credential of an older generation is refused."),
    )
    quarantined_at = models.DateTimeField(
        _("quarantined at"), null=True, blank=True, editable=False
    )
    quarantine_reason = models.CharField(
        _("quarantine reason"), max_length=200, blank=True, default="", editable=False
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)
    approved_at = models.DateTimeField(_("approved at"), null=True, blank=True, editable=False)
    retired_at = models.DateTimeField(_("retired at"), null=True, blank=True, editable=False)
    retired_from = models.CharField(
        _("status before it was retired"),
        max_length=16,
        blank=True,
        default="",
        db_default="",
        editable=False,
    )

    class Meta:
        db_table = "hosts"
        verbose_name = _("host")
        verbose_name_plural = _("hosts")
        indexes: ClassVar = [
            # the lists of hosts by state, newest last
            models.Index(fields=["status", "id"], name="idx_hosts_status"),
            # hosts by name, for the list's order and exact look-ups
            models.Index(fields=["hostname", "id"], name="idx_hosts_hostname"),
            # "contains" searches by name
            GinIndex(
                OpClass(Upper("hostname"), name="gin_trgm_ops"), name="idx_hosts_hostname_trgm"
            ),
            # targets by tag: tags ?| array[…]
            GinIndex(fields=["tags"], name="idx_hosts_tags"),
            # enrolment: is this machine known already?
            models.Index(fields=["machine_id"], name="idx_hosts_machine_id"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=models.Q(status__in=HostStatus.values), name="hosts_status_known"
            ),
            models.CheckConstraint(
                condition=models.Q(max_concurrency__gte=1, max_concurrency__lte=1000),
                name="hosts_max_concurrency_range",
            ),
        ]

    def __str__(self) -> str:
        return visible_text(self.hostname)


class HostGroupMember(models.Model):
    """One host is in one group."""

    host = models.ForeignKey(Host, on_delete=models.CASCADE)
    group = models.ForeignKey(HostGroup, on_delete=models.CASCADE)

    class Meta:
        db_table = "host_group_members"
        verbose_name = _("group member")
        verbose_name_plural = _("group members")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["group", "host"], name="uniq_host_group_member"),
        ]

    def __str__(self) -> str:
        return f"{self.group_id}:{self.host_id}"


class HostGroupGrant(models.Model):
    """One operator may run tasks on the hosts of one group; without grants, on none."""

    user = models.ForeignKey("access.User", on_delete=models.CASCADE, related_name="group_grants")
    group = models.ForeignKey(HostGroup, on_delete=models.CASCADE, related_name="grants")
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)

    class Meta:
        db_table = "host_group_grants"
        verbose_name = _("group grant")
        verbose_name_plural = _("group grants")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "group"], name="uniq_host_group_grant"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id}:{self.group_id}"


class HostHeartbeat(models.Model):
    """What a host last said of itself. No index on a changing column, so that updates stay HOT."""

    host = models.OneToOneField(
        Host, on_delete=models.CASCADE, primary_key=True, related_name="heartbeat"
    )
    last_seen_at = models.DateTimeField(_("last seen at"))
    cpu_percent = models.FloatField(_("CPU %"), null=True)
    memory_percent = models.FloatField(_("memory %"), null=True)
    load1 = models.FloatField(_("load (1 min)"), null=True)
    disk_percent = models.FloatField(_("disk %"), null=True)
    running_count = models.PositiveIntegerField(_("running commands"), default=0)
    clock_skew_ms = models.BigIntegerField(_("clock skew (ms)"), null=True)
    boot_id = models.CharField(_("boot id"), max_length=64, blank=True, default="")
    load_at = models.DateTimeField(
        _("figures of"), null=True, help_text=_("When the host told its figures last.")
    )
    draining = models.BooleanField(
        _("draining"), default=False, db_default=False, help_text=_("The agent takes no new work.")
    )
    offline_at = models.DateTimeField(
        _("declared offline at"),
        null=True,
        help_text=_("Set by the sweep, cleared by a heartbeat."),
    )

    class Meta:
        db_table = "host_heartbeats"
        verbose_name = _("heartbeat")
        verbose_name_plural = _("heartbeats")

    def __str__(self) -> str:
        return f"{self.host_id} {self.last_seen_at:%Y-%m-%d %H:%M:%S}"


class HostSession(models.Model):
    """The journal that speaks for a host now, and the highest (run, seq) it was answered at."""

    host = models.OneToOneField(
        Host, on_delete=models.CASCADE, primary_key=True, related_name="session"
    )
    journal_id = models.UUIDField()
    run = models.BigIntegerField()
    seq = models.BigIntegerField()
    instance_id = models.UUIDField()
    instance_seen_at = models.DateTimeField(
        help_text=_("When this instance was first heard, in database time.")
    )

    class Meta:
        db_table = "host_sessions"
        verbose_name = _("agent session")
        verbose_name_plural = _("agent sessions")

    def __str__(self) -> str:
        return f"{self.host_id} {self.journal_id} ({self.run}, {self.seq})"


class RetiredIdentity(models.Model):
    """A journal or an instance that another one replaced.

    If it polls again at a greater (run, seq) than it had, two agents share one identity (a clone,
    or a restored snapshot) and the host is quarantined. At the same or a smaller pair it is only an
    old request that was still under way.
    """

    host = models.ForeignKey(Host, on_delete=models.CASCADE, related_name="retired_identities")
    identity = models.UUIDField(help_text=_("A journal id or an instance id."))
    run = models.BigIntegerField()
    seq = models.BigIntegerField()
    retired_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "host_retired_identities"
        verbose_name = _("retired agent identity")
        verbose_name_plural = _("retired agent identities")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["host", "identity"], name="uniq_host_retired_identity"),
        ]

    def __str__(self) -> str:
        return f"{self.host_id} {self.identity}"
