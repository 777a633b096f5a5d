"""Sentences put together from parts, with the punctuation of the reader's language."""

from __future__ import annotations

from django.utils.translation import gettext as _


def labeled(label: object, text: object) -> str:
    """Return ``label: text``; in Chinese with a full-width colon."""
    return _("%(label)s: %(text)s") % {"label": label, "text": text}
