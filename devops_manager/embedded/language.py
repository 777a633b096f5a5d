"""Translations for programs that speak before Django's settings can be read.

The catalogue is Django's (``locale/*/LC_MESSAGES/django.mo``); the language is that of ``LANG``.
"""

from __future__ import annotations

import gettext as catalogues
import os
from pathlib import Path

LOCALE_DIRECTORY = Path(__file__).resolve().parent.parent.parent / "locale"
_CHINESE = "zh_Hans"


def chosen_languages(environment: dict[str, str]) -> list[str]:
    """Return the catalogue names that fit ``LC_ALL``, ``LC_MESSAGES`` or ``LANG``, best first."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        value = environment.get(name, "")
        if value:
            return [_CHINESE] if value.lower().startswith("zh") else []
    return []


_translations = catalogues.translation(
    "django", LOCALE_DIRECTORY, languages=chosen_languages(dict(os.environ)), fallback=True
)


def gettext(message: str) -> str:
    """Return ``message`` in the language of the person at the terminal."""
    return _translations.gettext(message)
