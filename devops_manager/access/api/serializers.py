"""The shapes of bodies and answers about people, tokens and the audit trail."""

from __future__ import annotations

from typing import Any, ClassVar

from django.conf import settings
from rest_framework import serializers

from devops_manager.access.models import ApiToken, AuditEvent, Role, User
from devops_manager.lib.serializers import (
    NameField,
    StrictBooleanField,
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


class PersonSerializer(StrictModelSerializer):
    """A person. ``is_staff``: an administrator who also sees the raw records, below /admin/.

    ``is_superuser``: an administrator whatever ``role`` says, made by ``first_admin``.
    """

    token_count = serializers.IntegerField(
        read_only=True, help_text="API tokens that were not revoked."
    )
    language = serializers.ChoiceField(
        choices=["", *dict(settings.LANGUAGES)], required=False, help_text="Empty: the browser's."
    )

    class Meta:
        model = User
        fields: ClassVar = [
            "id",
            "username",
            "role",
            "language",
            "first_name",
            "last_name",
            "email",
            "is_active",
            "is_staff",
            "is_superuser",
            "must_change_password",
            "token_count",
            "last_login",
            "date_joined",
        ]
        read_only_fields: ClassVar = [
            "is_active",
            "is_superuser",
            "must_change_password",
            "last_login",
            "date_joined",
        ]


class PersonChangeSerializer(PersonSerializer):
    """What may be changed of a person; a name stays, for the audit trail tells people by it."""

    class Meta(PersonSerializer.Meta):
        read_only_fields: ClassVar = [*PersonSerializer.Meta.read_only_fields, "username"]


class NewPersonSerializer(PersonSerializer):
    """A person to add."""

    password = StrictCharField(
        write_only=True,
        required=False,
        max_length=1000,
        trim_whitespace=False,
        help_text="Left out: one is generated. It must be changed after the first sign-in.",
    )

    class Meta(PersonSerializer.Meta):
        fields: ClassVar = [*PersonSerializer.Meta.fields, "password"]
        # The service says that a name is taken, whatever its case (409).
        extra_kwargs: ClassVar[dict[str, Any]] = {"username": {"validators": []}}


class PersonWithPasswordSerializer(PersonSerializer):
    """A person with the password that was generated, the only time that it is shown."""

    password = serializers.CharField(
        allow_null=True, read_only=True, help_text="Null when the request named one."
    )

    class Meta(PersonSerializer.Meta):
        fields: ClassVar = [*PersonSerializer.Meta.fields, "password"]


class TokensSerializer(StrictSerializer):
    """What is to become of a person's API tokens."""

    revoke_tokens = StrictBooleanField(default=True, help_text="Their API tokens end for good.")


class ResetPasswordSerializer(TokensSerializer):
    """A new password, generated when it is left out."""

    password = StrictCharField(required=False, max_length=1000, trim_whitespace=False)
