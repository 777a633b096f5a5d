"""Bytes that a command printed, as text in the encoding that a reader chooses; linear, never fails.

Hosts print in the encoding of their locale, and a stream is cut by its size, not by its characters:
what a cut left of a character at an end is left out, everything else that cannot be read becomes
U+FFFD.
"""

from __future__ import annotations

import codecs
from typing import Final, NamedTuple

from django.utils.translation import gettext as _

UTF_8: Final = "utf-8"
# The names that people may choose, and Python's codec of each. GBK and GB2312 are parts of GB18030.
CHARSETS: Final = {
    UTF_8: "utf-8",
    "gb18030": "gb18030",
    "big5": "big5hkscs",
    "shift_jis": "cp932",
    "euc-jp": "euc_jp",
    "euc-kr": "cp949",
    "latin-1": "latin-1",
    "windows-1252": "cp1252",
    "windows-1251": "cp1251",
    "koi8-r": "koi8_r",
}
# A character may have several bytes, and which of them is its first is seen only from before.
DOUBLE_BYTE: Final = frozenset({"gb18030", "big5", "shift_jis", "euc-jp", "euc-kr"})
# Other names of these that people type.
_ALIASES: Final = {
    "utf8": UTF_8,
    "gbk": "gb18030",
    "gb2312": "gb18030",
    "cp936": "gb18030",
    "gb-18030": "gb18030",
    "sjis": "shift_jis",
    "shift-jis": "shift_jis",
    "cp932": "shift_jis",
    "iso-8859-1": "latin-1",
    "latin1": "latin-1",
    "cp1252": "windows-1252",
    "cp1251": "windows-1251",
    "eucjp": "euc-jp",
    "euckr": "euc-kr",
}
# No character of these encodings is longer.
_LONGEST = 4
# Of a name that is not known.
_SHOWN_CHARACTERS = 40
# So much of a first line tells where its characters begin.
_DOUBTFUL = 512


class Decoded(NamedTuple):
    """Text, whether all of it could be read, and how many bytes of a cut character were left."""

    text: str
    exact: bool
    left_bytes: int


def charset_named(name: str) -> str | None:
    """Return the charset of CHARSETS that a name means, whatever its case, or None."""
    lower = name.strip().lower()
    hyphened = lower.replace("_", "-")
    known = _ALIASES.get(hyphened, lower if lower in CHARSETS else hyphened)
    return known if known in CHARSETS else None


def require_charset(name: str) -> str:
    """Return the charset that a name means. Raises ValueError with a sentence for people."""
    charset = charset_named(name)
    if charset is None:
        sentence = _(
            "“%(name)s” is not a charset that can be read here. Choose one of %(choices)s."
        )
        shown = {"name": name[:_SHOWN_CHARACTERS], "choices": ", ".join(CHARSETS)}
        raise ValueError(sentence % shown)
    return charset


def decode(data: bytes, charset: str, *, cut_start: bool = False, cut_end: bool = False) -> Decoded:
    """Return bytes as text; ``cut_start`` and ``cut_end`` say at which ends characters may be cut.

    ``left_bytes`` counts what was left out at both ends: at most three bytes at each.
    """
    start = _first_whole(data, charset) if cut_start else 0
    body = data[start:]
    text, left = _decode(body, charset, final=not cut_end)
    try:
        body[: len(body) - left].decode(CHARSETS[charset])
    except UnicodeDecodeError:
        return Decoded(text, False, start + left)
    return Decoded(text, True, start + left)


def rest_of_character(before: bytes, data: bytes, charset: str, *, is_all: bool) -> int:
    """Return how many first bytes of data belong to a character that began before it.

    ``before`` lies directly before ``data``; ``is_all``: it is all that does, so that no guess is
    needed. Else its last line end tells.
    """
    if charset not in DOUBLE_BYTE or not before:
        return _first_whole(data, charset)
    start = 0 if is_all else before.rfind(b"\n") + 1 or _first_whole(before, charset)
    decoder = codecs.getincrementaldecoder(CHARSETS[charset])("replace")
    decoder.decode(before[start:])
    for at in range(min(_LONGEST, len(data))):
        if not decoder.getstate()[0]:
            return at
        decoder.decode(data[at : at + 1])
    return 0


def _decode(data: bytes, charset: str, *, final: bool) -> tuple[str, int]:
    decoder = codecs.getincrementaldecoder(CHARSETS[charset])("replace")
    text = decoder.decode(data, final)
    return text, len(decoder.getstate()[0])


def _first_whole(data: bytes, charset: str) -> int:
    """Return where the first character begins, in bytes that may begin within one.

    UTF-8 tells. In the double-byte encodings a line end is never a part of a character, so only the
    first line is in doubt: it is read from each of its first bytes, and the reading with the fewest
    unreadable characters counts.
    """
    if charset == UTF_8:
        whole = (at for at, byte in enumerate(data[:_LONGEST]) if not 0x80 <= byte < 0xC0)
        return next(whole, 0)
    line = data[: data.find(b"\n") + 1 or _DOUBTFUL][:_DOUBTFUL]
    doubts = [_doubts(line[at:], charset) for at in range(min(_LONGEST, len(line)))]
    return doubts.index(min(doubts)) if doubts else 0


def _doubts(line: bytes, charset: str) -> int:
    """Return how many characters of a line cannot be read, or are nobody's."""
    text, _left = _decode(line, charset, final=False)
    return sum(one == "\ufffd" or "\ue000" <= one <= "\uf8ff" for one in text)
