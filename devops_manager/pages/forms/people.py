"""Forms about people: who they are, what they may do, their passwords."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from devops_manager.access.models import Role
from devops_manager.access.person_change import PersonChange
from devops_manager.pages.forms.password import PasswordForm

if TYPE_CHECKING:
    from collections.abc import Sequence


class OwnPasswordForm(PasswordForm):
    """One's own password: the old one, and twice a new one that is another."""

    def clean(self) -> dict[str, Any]:
        """Refuse the old password as the new one: somebody else may know it."""
        data: dict[str, Any] = super().clean() or {}
        new = data.get("new_password1")
        if new and new == data.get("old_password"):
            self.add_error("new_password1", _("Choose another password than the old one."))
        return data


def _line(label: Any, length: int, **options: Any) -> forms.CharField:
    return forms.CharField(
        label=label,
        required=options.pop("required", False),
        max_length=length,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
        **options,
    )


def _new_password() -> forms.CharField:
    return forms.CharField(
        label=gettext_lazy("Password"),
        required=False,
        strip=False,
        max_length=1000,
        help_text=gettext_lazy(
            "Empty: one is generated and shown once. It must be changed after the first sign-in."
        ),
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )


class PersonForm(forms.Form):
    """What an administrator may change of a person."""

    role = forms.ChoiceField(label=gettext_lazy("Role"), choices=Role.choices)
    language = forms.ChoiceField(
        label=gettext_lazy("Language"),
        required=False,
        choices=[("", gettext_lazy("The browser's")), *settings.LANGUAGES],
    )
    first_name = _line(gettext_lazy("First name"), 150)
    last_name = _line(gettext_lazy("Last name"), 150)
    email = forms.EmailField(label=gettext_lazy("Email"), required=False, max_length=254)
    is_staff = forms.BooleanField(
        label=gettext_lazy("Sees the raw records too"),
        required=False,
        help_text=gettext_lazy("Below /admin/, for administrators only."),
    )

    def change(self) -> PersonChange:
        """Return what the service takes. The raw records are nothing for other roles."""
        data = self.cleaned_data
        role = Role(data["role"])
        return PersonChange(
            role=role,
            language=data["language"],
            first_name=data["first_name"],
            last_name=data["last_name"],
            email=data["email"],
            is_staff=data["is_staff"] and role == Role.ADMIN,
        )


class NewPersonForm(PersonForm):
    """A person to add."""

    username = _line(
        gettext_lazy("Username"),
        150,
        required=True,
        help_text=gettext_lazy("It stays: the activity of people is recorded under it."),
    )
    password = _new_password()
    field_order = ("username", "role", "password", "language", "first_name", "last_name", "email")


class NewPasswordForm(forms.Form):
    """A new password for somebody else."""

    password = _new_password()


class PeopleFilter(forms.Form):
    """People by name, role, and whether they are active."""

    search = _line(gettext_lazy("Name or address contains"), 200)
    role = forms.ChoiceField(
        label=gettext_lazy("Role"),
        required=False,
        choices=[("", gettext_lazy("Any")), *Role.choices],
    )
    active = forms.ChoiceField(
        label=gettext_lazy("Account"),
        required=False,
        choices=[
            ("", gettext_lazy("Any")),
            ("yes", gettext_lazy("Active")),
            ("no", gettext_lazy("Deactivated")),
        ],
    )


class GrantForm(forms.Form):
    """A group for a person."""

    group = forms.ChoiceField(label=gettext_lazy("Group"))

    def __init__(self, *args: Any, groups: Sequence[tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["group"]
        assert isinstance(field, forms.ChoiceField)
        field.choices = groups
