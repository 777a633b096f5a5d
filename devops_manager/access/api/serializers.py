"""The shapes of bodies and answers about people, tokens and the audit trail."""

from __future__ import annotations

from typing import ClassVar

from rest_framework import serializers

from devops_manager.access.models import ApiToken, AuditEvent, Role
from devops_manager.lib.serializers import (
    NameField,
    StrictCharField,
    StrictModelSerializer,
    StrictSerializer,
)


class LoginSerializer(StrictSerializer):
    """A name and a password."""

    username = StrictCharField(max_length=150)
    password = StrictCharField(max_length=1000, trim_whitespace=False)


class MeSerializer(StrictSerializer):
    """Who asks, and with what rights."""

    username = serializers.CharField()
    kind = serializers.ChoiceField(choices=AuditEvent.ActorKind.choices)
    role = serializers.ChoiceField(choices=Role.choices)
    language = serializers.CharField()
    token = serializers.CharField(
        allow_null=True, help_text="The prefix of the token that asks; null for a session."
    )


class TokenSerializer(StrictModelSerializer):
    """A token as lists show it; its secret is stored nowhere."""

    owner = serializers.CharField(source="owner.username", read_only=True)
    made_with = serializers.UUIDField(
        source="parent.token_id",
        read_only=True,
        allow_null=True,
        help_text="The token that made this one, which ends with it; null for a person's.",
    )
    name = NameField(max_length=128)

    class Meta:
        model = ApiToken
        fields: ClassVar = [
            "token_id",
            "name",
            "owner",
            "prefix",
            "role",
            "manages_tokens",
            "made_with",
            "created_at",
            "expires_at",
            "revoked_at",
            "last_used_at",
        ]
        read_only_fields: ClassVar = ["prefix"]


class NewTokenSerializer(TokenSerializer):
    """A token just made, with its secret: the only time that it is shown."""

    secret = serializers.CharField(read_only=True)

    class Meta(TokenSerializer.Meta):
        fields: ClassVar = [*TokenSerializer.Meta.fields, "secret"]


class AuditEventSerializer(StrictModelSerializer):
    """One act."""

    class Meta:
        model = AuditEvent
        fields: ClassVar = [
            "id",
            "occurred_at",
            "actor_kind",
            "actor",
            "action",
            "object_type",
            "object_id",
            "source_ip",
            "request_id",
            "before",
            "after",
        ]
