"""Names of one line: without characters that make a page or terminal show another name.

Those are the control characters (C0, DEL, C1), the marks that turn the reading direction
(CVE-2021-42574), the two line separators of Unicode, and everything that shows nothing at all:
two names that differ only in such a character cannot be told apart.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from devops_manager.lib.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

# Both as the inside of a regular expression's brackets.
#
# Unicode's Default_Ignorable_Code_Point, the byte order mark among them, with interlinear
# annotations, the empty Braille cell and invisible marks of notation, which take room and show
# nothing. The marks of reading direction are in it as well.
INVISIBLE = (
    r"\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    r"\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
FORGING = r"\x00-\x1f\x7f-\x9f\u2028\u2029" + INVISIBLE
# For descriptions of what is taken: one such line, and one that is not empty either.
ONE_LINE = f"^[^{FORGING}]*$"
NAME = rf"^[^{FORGING}]*[^{FORGING}\s][^{FORGING}]*$"
_forging = re.compile(f"[{FORGING}]")


def is_one_line(text: str) -> bool:
    """Tell whether a text is a line that shows as it is."""
    return _forging.search(text) is None


def require_one_line(names: Mapping[str, str]) -> None:
    """Raise InvalidInput naming the fields (the keys) whose names would show as other names."""
    sentence = _("Must be one line without control or invisible characters.")
    wrong = {field: [sentence] for field, name in names.items() if not is_one_line(name)}
    if wrong:
        raise InvalidInput(sentence, fields=wrong)
