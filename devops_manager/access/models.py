"""People, their tokens, what they did, and what they asked for twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from devops_manager.lib.ids import uuid7
from devops_manager.lib.one_line import is_one_line, not_one_line, visible_text

if TYPE_CHECKING:
    from datetime import datetime


class Role(models.TextChoices):
    """What a person or a token may do; each is listed in docs/permissions.md."""

    VIEWER = "viewer", _("Viewer")
    OPERATOR = "operator", _("Operator")
    APPROVER = "approver", _("Approver")
    ADMIN = "admin", _("Administrator")


class User(AbstractUser):
    """One person who signs in. A new person may only look until an administrator says more."""

    role = models.CharField(_("role"), max_length=16, choices=Role.choices, default=Role.VIEWER)
    language = models.CharField(_("language"), max_length=16, blank=True, default="")
    must_change_password = models.BooleanField(
        _("must change the password"),
        default=False,
        help_text=_("Somebody else knows it: sessions may do nothing else before it is changed."),
    )

    class Meta(AbstractUser.Meta):
        db_table = "users"
        verbose_name = _("user")  # type: ignore[assignment]
        verbose_name_plural = _("users")  # type: ignore[assignment]

    def __str__(self) -> str:
        return visible_text(self.username)

    def clean(self) -> None:
        """Refuse names that show as other names."""
        super().clean()
        names = {name: getattr(self, name) for name in ("username", "first_name", "last_name")}
        wrong = {name: not_one_line() for name, text in names.items() if not is_one_line(text)}
        if wrong:
            raise ValidationError(wrong)


class ApiToken(models.Model):
    """One bearer token of a script. The secret is shown once; only its SHA-256 is stored.

    ``role`` is never wider than the owner's: the narrower of the two holds at every request.
    ``parent`` is the token that made this one, which ends with it at the latest; a token that was
    made by another makes none.
    """

    token_id = models.UUIDField(_("token id"), default=uuid7, unique=True, editable=False)
    owner = models.ForeignKey(
        "access.User", on_delete=models.CASCADE, related_name="api_tokens", verbose_name=_("owner")
    )
    name = models.CharField(_("name"), max_length=128)
    prefix = models.CharField(_("prefix"), max_length=16, unique=True, editable=False)
    secret_hash = models.BinaryField(_("secret hash"), max_length=32, editable=False)
    role = models.CharField(_("role"), max_length=16, choices=Role.choices, default=Role.VIEWER)
    manages_tokens = models.BooleanField(
        _("manages tokens"),
        default=False,
        help_text=_("Scripts that have it may make, list and revoke tokens."),
    )
    parent = models.ForeignKey(
        "self",
        null=True,
        on_delete=models.CASCADE,
        editable=False,
        related_name="made",
        verbose_name=_("made with"),
    )
    created_at = models.DateTimeField(_("created at"), db_default=Now(), editable=False)
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked at"), null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(_("last used at"), null=True, blank=True, editable=False)

    class Meta:
        db_table = "api_tokens"
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")

    def __str__(self) -> str:
        return f"{visible_text(self.name)} ({self.prefix}…)"

    def is_good(self, now: datetime) -> bool:
        """Tell whether it is neither expired nor revoked, and so is the token that made it."""
        expired = self.expires_at is not None and self.expires_at <= now
        if expired or self.revoked_at is not None:
            return False
        return self.parent is None or self.parent.is_good(now)


class AuditEvent(models.Model):
    """One act: who, what, on what, from where, with what before and after.

    Written in the transaction of the act. A trigger refuses UPDATE and DELETE.
    """

    class ActorKind(models.TextChoices):
        """Who acted."""

        PERSON = "person", _("Person")
        TOKEN = "token", _("API token")
        AGENT = "agent", _("Agent")
        SYSTEM = "system", _("System")

    occurred_at = models.DateTimeField(_("occurred at"), db_default=Now(), editable=False)
    actor_kind = models.CharField(_("actor kind"), max_length=8, choices=ActorKind.choices)
    actor = models.CharField(_("actor"), max_length=200)
    action = models.CharField(_("action"), max_length=64)
    object_type = models.CharField(_("object type"), max_length=32)
    object_id = models.CharField(_("object id"), max_length=64)
    source_ip = models.GenericIPAddressField(_("source address"), null=True, blank=True)
    request_id = models.CharField(_("request id"), max_length=64, blank=True, default="")
    before = models.JSONField(_("before"), null=True, blank=True)
    after = models.JSONField(_("after"), null=True, blank=True)

    class Meta:
        db_table = "audit_events"
        verbose_name = _("audit event")
        verbose_name_plural = _("audit events")
        indexes: ClassVar = [
            # the audit list, newest first
            models.Index(fields=["-occurred_at", "-id"], name="idx_audit_occurred_at"),
            # everything that happened to one task, host or token
            models.Index(fields=["object_type", "object_id"], name="idx_audit_object"),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.object_type} {self.object_id}"


class AuditCount(models.Model):
    """How often a stranger caused an event since its minute began (``bounded_audit``)."""

    action = models.CharField(max_length=64)
    source = models.CharField(max_length=64)
    actor_kind = models.CharField(max_length=8)
    actor = models.CharField(max_length=200)
    source_ip = models.GenericIPAddressField(null=True)
    since = models.DateTimeField()
    events = models.PositiveIntegerField()

    class Meta:
        db_table = "audit_counts"
        verbose_name = _("audit count")
        verbose_name_plural = _("audit counts")
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["action", "source"], name="uniq_audit_counts_action_source"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.action} {self.source}"


class IdempotencyKey(models.Model):
    """One ``Idempotency-Key`` of one actor, and the answer to give again.

    ``request_digest`` is SHA-256 over method, path and body: the same key with another request is
    refused.
    """

    actor = models.CharField(max_length=200)
    key = models.CharField(max_length=200)
    request_digest = models.BinaryField(max_length=32)
    response_status = models.SmallIntegerField()
    response_body = models.BinaryField(null=True)
    response_location = models.CharField(max_length=200, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "idempotency_keys"
        verbose_name = _("idempotency key")
        verbose_name_plural = _("idempotency keys")
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["actor", "key"], name="uniq_idempotency_actor_key"),
        ]
        indexes: ClassVar = [
            # retention: keys older than a day go
            models.Index(fields=["created_at"], name="idx_idempotency_created_at"),
        ]

    def __str__(self) -> str:
        return f"{self.actor} {self.key}"
