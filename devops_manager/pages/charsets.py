"""The charsets of output as people know them, and the one that a page is read in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from devops_manager.lib.decoding import CHARSETS, UTF_8, require_charset
from devops_manager.lib.errors import InvalidInput

if TYPE_CHECKING:
    from django.http import HttpRequest

# Names of standards: the same in every language.
CHARSET_WORDS = {
    UTF_8: "UTF-8",
    "gb18030": "GB18030 (GBK)",
    "big5": "Big5",
    "shift_jis": "Shift_JIS",
    "euc-jp": "EUC-JP",
    "euc-kr": "EUC-KR",
    "latin-1": "Latin-1 (ISO 8859-1)",
    "windows-1252": "Windows-1252",
    "windows-1251": "Windows-1251",
    "koi8-r": "KOI8-R",
}


def charset_choices() -> list[tuple[str, str]]:
    """Return every charset with its words."""
    return [(name, CHARSET_WORDS[name]) for name in CHARSETS]


def other_charsets() -> list[tuple[str, str]]:
    """Return every charset but UTF-8 with its words."""
    return [choice for choice in charset_choices() if choice[0] != UTF_8]


def charset_asked(request: HttpRequest) -> str:
    """Return the charset that ``?charset=`` names; empty: each host's own. Raises InvalidInput."""
    name = request.GET.get("charset", "")
    try:
        return require_charset(name) if name else ""
    except ValueError as error:
        raise InvalidInput(_("The query is not valid."), fields={"charset": [str(error)]}) from None
