"""Names of one line: without characters that make a page or terminal show another name.

Those are the control characters (C0, DEL, C1), the marks that turn the reading direction
(CVE-2021-42574) and the two line separators of Unicode.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from devops_manager.lib.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

# As the inside of a regular expression's brackets.
FORGING = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
# For descriptions of what is taken: one such line, and one that is not empty either.
ONE_LINE = f"^[^{FORGING}]*$"
NAME = rf"^[^{FORGING}]*[^{FORGING}\s][^{FORGING}]*$"
_forging = re.compile(f"[{FORGING}]")


def is_one_line(text: str) -> bool:
    """Tell whether a text is a line that shows as it is."""
    return _forging.search(text) is None


def require_one_line(names: Mapping[str, str]) -> None:
    """Raise InvalidInput naming the fields (the keys) whose names would show as other names."""
    sentence = _("Must be one line without control characters.")
    wrong = {field: [sentence] for field, name in names.items() if not is_one_line(name)}
    if wrong:
        raise InvalidInput(sentence, fields=wrong)
