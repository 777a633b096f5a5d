"""The shapes of bodies and answers about enrolment tokens."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from agents_app.models import EnrollmentToken
from agents_app.services.tokens import USES
from devops_manager.lib.serializers import (
    NameField,
    StrictBooleanField,
    StrictCharField,
    StrictIntegerField,
    StrictSerializer,
)


class EnrollmentTokenSerializer(serializers.ModelSerializer[EnrollmentToken]):
    """An enrolment token as lists show it; its secret is stored nowhere."""

    groups = serializers.SerializerMethodField()
    created_by = serializers.SerializerMethodField()

    class Meta:
        model = EnrollmentToken
        fields: ClassVar = [
            "token_id",
            "name",
            "prefix",
            "auto_approve",
            "groups",
            "max_uses",
            "used_count",
            "created_by",
            "created_at",
            "expires_at",
            "revoked_at",
        ]

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_groups(self, token: EnrollmentToken) -> list[str]:
        """Return the names of the groups that new hosts join."""
        return sorted(group.name for group in token.groups.all())

    @extend_schema_field(serializers.CharField(allow_null=True))
    def get_created_by(self, token: EnrollmentToken) -> str | None:
        """Return who made it, or None when that person is gone."""
        return token.created_by.username if token.created_by else None


class NewEnrollmentTokenSerializer(EnrollmentTokenSerializer):
    """A token just made, with its secret: the only time that it is shown."""

    secret = serializers.CharField()

    class Meta(EnrollmentTokenSerializer.Meta):
        fields: ClassVar = [*EnrollmentTokenSerializer.Meta.fields, "secret"]


class EnrollmentTokenBodySerializer(StrictSerializer):
    """What may be said of a new enrolment token."""

    name = NameField(max_length=128)
    auto_approve = StrictBooleanField(default=False)
    groups: serializers.ListField = serializers.ListField(
        child=StrictCharField(max_length=128), max_length=100, default=list
    )
    max_uses = StrictIntegerField(
        min_value=1,
        max_value=1_000_000,
        allow_null=True,
        required=False,
        help_text=f"{USES} when left out; null: no limit.",
    )
    expires_at = serializers.DateTimeField(
        allow_null=True,
        required=False,
        help_text="24 hours from now when left out; null: never.",
    )

    def validate_groups(self, names: list[str]) -> list[Any]:
        """Return the names without repetitions."""
        return list(dict.fromkeys(names))
