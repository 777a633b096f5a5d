"""Forms about hosts: which to let in, what to change of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django import forms
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from devops_manager.lib.decoding import UTF_8
from devops_manager.lib.one_line import visible_text
from devops_manager.pages.charsets import CHARSET_WORDS, other_charsets
from devops_manager.pages.forms.lines import words
from hosts_app.records import HostChange

if TYPE_CHECKING:
    from collections.abc import Sequence

TAGS_AT_MOST = 50
TAG_CHARACTERS = 64


def ticked(texts: Sequence[str]) -> list[UUID]:
    """Return the host ids that were ticked; what is no id is left out."""
    ids = []
    for text in dict.fromkeys(texts):
        try:
            ids.append(UUID(text))
        except ValueError:
            continue
    return ids


class HostForm(forms.Form):
    """What an administrator may change of a host."""

    display_name = forms.CharField(
        label=gettext_lazy("Display name"),
        required=False,
        max_length=253,
        help_text=gettext_lazy("Shown in place of the host's own name. Empty: its own name."),
    )
    tags = forms.CharField(
        label=gettext_lazy("Tags"),
        required=False,
        max_length=4000,
        help_text=gettext_lazy("Separated by commas."),
    )
    groups = forms.MultipleChoiceField(
        label=gettext_lazy("Groups"),
        required=False,
        widget=forms.CheckboxSelectMultiple(attrs={"class": "choices"}),
    )
    max_concurrency = forms.IntegerField(
        label=gettext_lazy("Commands at once"), min_value=1, max_value=1000
    )
    output_charset = forms.ChoiceField(
        label=gettext_lazy("Charset of output"),
        required=False,
        choices=[("", CHARSET_WORDS[UTF_8]), *other_charsets()],
        help_text=gettext_lazy("In which its output is read unless another is chosen there."),
    )

    def __init__(self, *args: Any, groups: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["groups"]
        assert isinstance(field, forms.MultipleChoiceField)
        field.choices = [(name, visible_text(name)) for name in groups]

    def clean_tags(self) -> tuple[str, ...]:
        """Return the tags, each once."""
        tags = tuple(dict.fromkeys(words(self.cleaned_data["tags"])))
        if len(tags) > TAGS_AT_MOST:
            raise forms.ValidationError(_("At most %(high)d tags.") % {"high": TAGS_AT_MOST})
        for tag in tags:
            if len(tag) > TAG_CHARACTERS:
                raise forms.ValidationError(_("Not a tag: %s") % tag[:TAG_CHARACTERS])
        return tags

    def change(self) -> HostChange:
        """Return what the service takes."""
        data = self.cleaned_data
        return HostChange(
            tags=data["tags"],
            groups=tuple(data["groups"]),
            max_concurrency=data["max_concurrency"],
            display_name=data["display_name"],
            output_charset=data["output_charset"],
        )
