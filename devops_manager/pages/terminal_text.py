"""Output of commands as text that is safe to look at: nothing in it acts on the reader's screen.

HTML is escaped by the templates. Complete terminal escapes go, for they would only color or move
what is read. Everything else that a screen would hide stays visible: an escape that never ends (it
is over at the end of its line, and hides nothing behind it), control characters, characters without
a width, and the marks that turn the reading direction (CVE-2021-42574).

The time is linear in the text: every repetition is possessive, and none runs over a character that
could begin another sequence.
"""

from __future__ import annotations

import re
from typing import Final

from devops_manager.lib.one_line import PICTURES

# CSI, then OSC and the other string sequences up to their terminator, then what selects a character
# set or is a single function (ECMA-48 8.3). None goes beyond its line.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]"
    r"|(?:\x1b[PX\]^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9b-\x9f\n]*+(?:\x07|\x1b\\|\x9c)"
    r"|\x1b(?:[ -/]++[0-~]|[78=>DEHMNOZclmno|}~\\])"
)

# What programs draw with: the empty cell of a Braille graph, and the marks that choose between the
# two looks of an emoji. In names they would hide; in output they only take part in what is seen.
_DRAWN: Final = frozenset({0x2800, 0xFE0E, 0xFE0F})
_PICTURES: Final = {code: shown for code, shown in PICTURES.items() if code not in _DRAWN}


def inert_text(text: str) -> str:
    """Return a text of a command as a page may show it.

    A line that was drawn again with a carriage return keeps its last state, control characters
    show as their pictures, invisible characters as ``⟦U+202E⟧``.
    """
    text = _ESCAPES.sub("", text)
    if "\r" in text:
        text = "\n".join([_last_drawn(line) for line in text.split("\n")])
    return text.translate(_PICTURES)


def _last_drawn(line: str) -> str:
    return line.rstrip("\r").rpartition("\r")[2]
