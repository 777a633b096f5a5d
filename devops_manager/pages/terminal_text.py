"""Output of commands as text that is safe to look at: nothing in it acts on the reader's screen.

HTML is escaped by the templates. Here go terminal escapes, other control characters, and the marks
that turn the reading direction (CVE-2021-42574), which stay visible as their code points.
"""

from __future__ import annotations

import re

# CSI, OSC and the other string sequences (ended or cut off), then two-character escapes (ECMA-48).
_ESCAPES = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]?"
    r"|\x1b[PX\]^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
    r"|\x9b[0-?]*[ -/]*[@-~]?"
)
_CARRIAGE = re.compile(r"[^\n\r]*\r(?!\n)(?=[^\n])")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0d\x0e-\x1f\x7f-\x9f]")
_DIRECTION = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def inert_text(text: str) -> str:
    """Return a text of a command as a page may show it.

    A line that was drawn again with a carriage return keeps its last state, control characters
    show as their pictures, direction marks as ``⟦U+202E⟧``.
    """
    text = _ESCAPES.sub("", text).replace("\r\n", "\n")
    text = _CARRIAGE.sub("", text)
    text = _DIRECTION.sub(lambda mark: f"⟦U+{ord(mark.group()):04X}⟧", text)
    return _CONTROL.sub(_picture, text)


def _picture(control: re.Match[str]) -> str:
    code = ord(control.group())
    if code == 0x0D:
        return ""
    if code < 0x20:
        return chr(0x2400 + code)
    return "␡" if code == 0x7F else f"⟦U+{code:04X}⟧"
