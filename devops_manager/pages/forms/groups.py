"""Forms about groups of hosts: the group itself, its hosts, who may act on it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from devops_manager.pages.forms.lines import words


class GroupForm(forms.Form):
    """A group's name and description."""

    name = forms.CharField(
        label=gettext_lazy("Name"),
        max_length=128,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )
    description = forms.CharField(
        label=gettext_lazy("Description"),
        required=False,
        max_length=500,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )


class AddHostsForm(forms.Form):
    """Hosts for a group: by name or id, or all that have a tag."""

    names = forms.CharField(
        label=gettext_lazy("Host names or ids"),
        required=False,
        max_length=100_000,
        help_text=gettext_lazy("One a line, or separated by commas."),
        widget=forms.Textarea(attrs={"rows": 3, "autocomplete": "off", "spellcheck": "false"}),
    )
    tag = forms.CharField(
        label=gettext_lazy("All hosts with this tag"),
        required=False,
        max_length=64,
        widget=forms.TextInput(attrs={"autocomplete": "off", "list": "tags"}),
    )

    def clean(self) -> dict[str, Any]:
        """Refuse a form that names nothing."""
        data = super().clean() or {}
        data["names"] = words(data.get("names", ""))
        if not data["names"] and not data.get("tag"):
            raise forms.ValidationError(_("Name hosts or a tag."))
        return data
