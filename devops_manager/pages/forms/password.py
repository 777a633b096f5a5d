"""The form of one's own password."""

from __future__ import annotations

from django import forms
from django.contrib.auth.forms import PasswordChangeForm
from django.utils.translation import gettext_lazy as _

KEEP_TOKENS = "keep"


class PasswordForm(PasswordChangeForm):
    """The old password, twice the new one, and what becomes of tokens that somebody may know."""

    tokens = forms.ChoiceField(
        label=_("API tokens"),
        required=False,
        choices=[("revoke", _("Revoke all of mine")), (KEEP_TOKENS, _("Keep them"))],
        help_text=_("Keep them only if nobody else can know the old password."),
    )
