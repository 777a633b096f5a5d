"""Text is what it looks like: names hide nothing, and whatever does not show is made visible.

A name is one line without characters that make a page or terminal show another name: control
characters (C0, DEL, C1), the marks that turn the reading direction (CVE-2021-42574), the two line
separators of Unicode, and everything that shows nothing at all: two names that differ only in such
a character cannot be told apart.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from django.utils.translation import gettext as _

from devops_manager.lib.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

# First and last code point of what shows nothing: Unicode's Default_Ignorable_Code_Point, the byte
# order mark and the marks of reading direction among them, with interlinear annotations, the empty
# Braille cell and invisible marks of notation, which take room and show nothing.
_INVISIBLE: Final = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5),
    (0x180B, 0x180F), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x2800, 0x2800),
    (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFFB),
    (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
_CONTROL: Final = ((0x00, 0x1F), (0x7F, 0x9F), (0x2028, 0x2029))
# The inside of a regular expression's brackets.
FORGING: Final = "".join(rf"\U{first:08x}-\U{last:08x}" for first, last in (*_CONTROL, *_INVISIBLE))
# For descriptions of what is taken: one such line, and one that is not empty either.
ONE_LINE: Final = f"^[^{FORGING}]*$"
NAME: Final = rf"^[^{FORGING}]*[^{FORGING}\s][^{FORGING}]*$"
_forging = re.compile(f"[{FORGING}]")


def _pictures() -> dict[int, str]:
    """Return what stands for each character that would not be seen; tabs and line ends would."""
    shown = {
        code: f"⟦U+{code:04X}⟧"
        for first, last in (*_CONTROL, *_INVISIBLE)
        for code in range(first, last + 1)
    }
    shown |= {code: chr(0x2400 + code) for code in range(0x20)}
    del shown[ord("\t")], shown[ord("\n")]
    return shown | {0x7F: "␡"}


PICTURES: Final = _pictures()


def visible_text(text: str) -> str:
    """Return a text with a picture in place of each character that would not be seen.

    Nothing is left out. Only tabs and line feeds stay as they are.
    """
    return text.translate(PICTURES)


def is_one_line(text: str) -> bool:
    """Tell whether a text is a line that shows as it is."""
    return _forging.search(text) is None


def not_one_line() -> str:
    """Return what is said of a name that is not."""
    return _("Must be one line without control or invisible characters.")


def require_one_line(names: Mapping[str, str]) -> None:
    """Raise InvalidInput naming the fields (the keys) whose names would show as other names."""
    sentence = not_one_line()
    wrong = {field: [sentence] for field, name in names.items() if not is_one_line(name)}
    if wrong:
        raise InvalidInput(sentence, fields=wrong)
