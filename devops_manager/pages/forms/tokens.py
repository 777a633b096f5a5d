"""Forms of tokens: for scripts, and for hosts that are to join."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from agents_app.services.tokens import USES
from devops_manager.access.actors import narrower_role
from devops_manager.access.models import Role
from devops_manager.lib.one_line import visible_text

if TYPE_CHECKING:
    from collections.abc import Sequence

_DAYS = [
    ("1", _("1 day")),
    ("7", _("7 days")),
    ("30", _("30 days")),
    ("90", _("90 days")),
    ("365", _("1 year")),
    ("", _("Never")),
]


def _name(help_text: Any) -> forms.CharField:
    return forms.CharField(
        label=_("Name"),
        max_length=128,
        help_text=help_text,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


def _expiry(initial: str) -> forms.ChoiceField:
    return forms.ChoiceField(
        label=_("Expires after"), choices=_DAYS, required=False, initial=initial
    )


def _at(days: str) -> dt.datetime | None:
    return timezone.now() + dt.timedelta(days=int(days)) if days else None


class ApiTokenForm(forms.Form):
    """A token for a script: it can do no more than its owner."""

    name = _name(_("What uses it, such as “nightly backup”."))
    role = forms.ChoiceField(label=_("Role"))
    expires = _expiry("90")
    manages_tokens = forms.BooleanField(
        label=_("May manage tokens"),
        required=False,
        help_text=_(
            "Scripts that have it may make, list and revoke tokens in your name. What it makes "
            "ends with it."
        ),
    )

    def __init__(self, *args: Any, role: Role, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["role"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = [
            (choice.value, choice.label) for choice in Role if narrower_role(choice, role) == choice
        ]
        field.initial = role.value

    def expires_at(self) -> dt.datetime | None:
        """Return when it is to expire."""
        return _at(self.cleaned_data["expires"])


class EnrollmentTokenForm(forms.Form):
    """A token with which hosts may join."""

    name = _name(_("Which hosts it is for, such as “web servers, rack 4”."))
    groups = forms.MultipleChoiceField(
        label=_("New hosts join these groups"),
        required=False,
        widget=forms.CheckboxSelectMultiple(attrs={"class": "choices"}),
    )
    auto_approve = forms.BooleanField(
        label=_("Approve hosts at once"),
        required=False,
        help_text=_("Without this, each host waits until somebody approves it."),
    )
    max_uses = forms.IntegerField(
        label=_("Uses at most"),
        required=False,
        initial=USES,
        min_value=1,
        max_value=100_000,
        help_text=_("Empty: no limit."),
    )
    expires = _expiry("1")

    def __init__(self, *args: Any, groups: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["groups"]
        assert isinstance(field, forms.MultipleChoiceField)
        field.choices = [(name, visible_text(name)) for name in groups]
        if not groups:
            del self.fields["groups"]

    def expires_at(self) -> dt.datetime | None:
        """Return when it is to expire."""
        return _at(self.cleaned_data["expires"])
