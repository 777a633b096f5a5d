"""Bodies taken at their word: unknown and read-only fields are refused, numbers are numbers."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from devops_manager.lib.errors import is_full
from devops_manager.lib.one_line import NAME


class StrictCharField(serializers.CharField):
    """A text; a number is not taken for one."""

    def to_internal_value(self, data: Any) -> str:
        """Return the text."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class NameField(StrictCharField):
    """A name: one line that shows as it is, and not blank."""

    def __init__(self, **options: Any) -> None:
        """Take a name of at most ``max_length`` characters."""
        options["validators"] = [
            *options.get("validators", ()),
            RegexValidator(NAME, _("Must be one line without control characters.")),
        ]
        super().__init__(**options)


class StrictIntegerField(serializers.IntegerField):
    """A whole number; neither a text nor true is taken for one."""

    def to_internal_value(self, data: Any) -> int:
        """Return the number."""
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictBooleanField(serializers.BooleanField):
    """true or false; neither "yes" nor 1 is taken for it."""

    def to_internal_value(self, data: Any) -> bool:
        """Return the value."""
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class StrictUUIDField(serializers.UUIDField):
    """A UUID as a text; a number is not taken for one."""

    def to_internal_value(self, data: Any) -> UUID:
        """Return the UUID."""
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class StrictMixin:
    """Refuses fields that a serializer does not know, and those that only the server sets."""

    serializer_field_mapping = serializers.ModelSerializer.serializer_field_mapping | {
        models.CharField: StrictCharField,
        models.TextField: StrictCharField,
        models.IntegerField: StrictIntegerField,
        models.PositiveIntegerField: StrictIntegerField,
        models.PositiveSmallIntegerField: StrictIntegerField,
        models.SmallIntegerField: StrictIntegerField,
        models.BigIntegerField: StrictIntegerField,
        models.BooleanField: StrictBooleanField,
    }

    def to_internal_value(self, data: Any) -> Any:
        """Return the validated values; all wrong fields are named at once."""
        wrong: dict[Any, Any] = {}
        if isinstance(data, dict):
            fields = self.fields  # type: ignore[attr-defined]
            for name in data:
                if is_full(wrong):
                    break
                if name not in fields:
                    wrong[name] = [_("Unknown field.")]
                elif fields[name].read_only:
                    wrong[name] = [_("This field cannot be set.")]
        try:
            value = super().to_internal_value(data)  # type: ignore[misc]
        except serializers.ValidationError as error:
            if not wrong or not isinstance(error.detail, dict):
                raise
            raise serializers.ValidationError({**error.detail, **wrong}) from error
        if wrong:
            raise serializers.ValidationError(wrong)
        return value


class StrictSerializer(StrictMixin, serializers.Serializer[Any]):
    """A serializer of plain values."""


class StrictModelSerializer(StrictMixin, serializers.ModelSerializer[Any]):
    """A serializer of a model's values."""
