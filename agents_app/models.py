"""How an agent comes in and proves who it is."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from devops_manager.lib.ids import uuid7
from devops_manager.lib.one_line import visible_text
from hosts_app.models import Host, HostGroup


class EnrollmentToken(models.Model):
    """One token with which hosts may enrol. The secret is shown once; its SHA-256 is stored."""

    token_id = models.UUIDField(_("token id"), default=uuid7, unique=True, editable=False)
    name = models.CharField(_("name"), max_length=128)
    prefix = models.CharField(_("prefix"), max_length=16, unique=True, editable=False)
    secret_hash = models.BinaryField(_("secret hash"), max_length=32, editable=False)
    auto_approve = models.BooleanField(
        _("approve at once"),
        default=False,
        help_text=_("Hosts that enrol with this token need no approval."),
    )
    groups = models.ManyToManyField(
        HostGroup, blank=True, verbose_name=_("groups"), help_text=_("New hosts join these groups.")
    )
    max_uses = models.PositiveIntegerField(
        _("uses at most"), null=True, blank=True, help_text=_("Empty: no limit.")
    )
    used_count = models.PositiveIntegerField(_("used"), default=0, editable=False)
    created_by = models.ForeignKey(
        "access.User",
        null=True,
        on_delete=models.SET_NULL,
        editable=False,
        related_name="+",
        verbose_name=_("created by"),
    )
    made_with = models.ForeignKey(
        "access.ApiToken",
        null=True,
        on_delete=models.SET_NULL,
        editable=False,
        related_name="+",
        verbose_name=_("made with"),
        help_text=_("Ends with this API token."),
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked at"), null=True, blank=True, editable=False)

    class Meta:
        db_table = "enrollment_tokens"
        verbose_name = _("enrolment token")
        verbose_name_plural = _("enrolment tokens")

    def __str__(self) -> str:
        return f"{visible_text(self.name)} ({self.prefix}…)"


class AgentCredential(models.Model):
    """The credential of one host's agent. ``generation`` must equal the host's to be good."""

    host = models.OneToOneField(
        Host, on_delete=models.CASCADE, primary_key=True, related_name="credential"
    )
    prefix = models.CharField(_("prefix"), max_length=16, unique=True)
    secret_hash = models.BinaryField(_("secret hash"), max_length=32)
    generation = models.PositiveIntegerField(_("generation"))
    # which token brought the host in: an agent that lost the answer may ask again with that one
    enrolled_with = models.ForeignKey(
        EnrollmentToken,
        null=True,
        on_delete=models.SET_NULL,
        related_name="+",
        verbose_name=_("enrolled with"),
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now())

    class Meta:
        db_table = "agent_credentials"
        verbose_name = _("agent credential")
        verbose_name_plural = _("agent credentials")
        indexes: ClassVar = []

    def __str__(self) -> str:
        return f"{self.host_id} ({self.prefix}…)"


class SuspectRequest(models.Model):
    """One request during which a gateway ended: how often, and whether it is not tried again.

    ``key`` is a result's fence, or the beginning of the SHA-256 of an enrollment's body.
    """

    class Kind(models.IntegerChoices):
        """Kinds of requests; the numbers are also in the files of ``gateway/under_way.py``."""

        POLL = 1, _("Poll")
        REPORT = 2, _("Report")
        HEARTBEAT = 3, _("Heartbeat")
        ENROLL = 4, _("Enrollment")
        RESULT = 5, _("Result")

    kind = models.PositiveSmallIntegerField(_("kind"), choices=Kind.choices)
    host = models.ForeignKey(
        Host, null=True, on_delete=models.CASCADE, related_name="+", verbose_name=_("host")
    )
    key = models.BinaryField(_("key"), max_length=16)
    deaths = models.PositiveIntegerField(_("deaths"), default=0)
    last_death_at = models.DateTimeField(_("last death at"), db_default=Now())
    set_aside_at = models.DateTimeField(_("set aside at"), null=True)
    content = models.BinaryField(_("content"), null=True)

    class Meta:
        db_table = "suspect_requests"
        verbose_name = _("suspect request")
        verbose_name_plural = _("suspect requests")
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["kind", "host", "key"], name="uq_suspect_requests", nulls_distinct=False
            )
        ]

    def __str__(self) -> str:
        return f"{self.Kind(self.kind).name} {bytes(self.key).hex()}"

    @property
    def fence(self) -> UUID:
        """Return the fence of a result."""
        return UUID(bytes=bytes(self.key))
