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

# CSI, then OSC and the other string sequences up to their terminator, then what selects a character
# set or is a single function (ECMA-48 8.3). None goes beyond its line.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]"
    r"|(?:\x1b[PX\]^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9b-\x9f\n]*+(?:\x07|\x1b\\|\x9c)"
    r"|\x1b(?:[ -/]++[0-~]|[78=>DEHMNOZclmno|}~\\])"
)

# First and last code point of what has no width or turns the direction of what follows.
_INVISIBLE: Final = (
    (0xAD, 0xAD),
    (0x34F, 0x34F),
    (0x61C, 0x61C),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x2028, 0x202E),
    (0x2060, 0x206F),
    (0x3164, 0x3164),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF9, 0xFFFB),
    (0xE0000, 0xE007F),
)


def _pictures() -> dict[int, str]:
    """Return what stands for each character that would not be seen."""
    shown = {code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n\r"}
    shown[0x7F] = "␡"
    unseen = [(0x80, 0x9F), *_INVISIBLE]
    return shown | {
        code: f"⟦U+{code:04X}⟧" for first, last in unseen for code in range(first, last + 1)
    }


_PICTURES: Final = _pictures()


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
