"""Reads the fields of one JSON object strictly, collecting every mistake under its full path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.utils.translation import gettext as _

from devops_manager.lib.errors import is_full
from devops_manager.lib.one_line import is_one_line, not_one_line
from devops_manager.lib.parsers import join_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_SHOWN_CHARACTERS = 100


class Fields:
    """One object's fields. A wrong one is noted in ``errors`` and read as its default."""

    def __init__(
        self, value: object, path: str, known: Sequence[str], errors: dict[str, list[str]]
    ) -> None:
        """Note that ``value`` is no object, or has fields that are not in ``known``."""
        self.path = path
        self._errors = errors
        self._values: dict[str, Any] = {}
        if not isinstance(value, dict):
            self.add(path or "body", _("Must be an object."))
            self._broken = True
            return
        self._broken = False
        self._values = value
        for name in value:
            if name not in known:
                self.refuse(str(name)[:_SHOWN_CHARACTERS], _("There is no such field."))

    def path_of(self, name: str) -> str:
        """Return the full path of a field."""
        return join_path(self.path, name)

    @property
    def is_object(self) -> bool:
        """Tell whether there are any fields to speak of."""
        return not self._broken

    def given(self, name: str) -> bool:
        """Tell whether the field is there."""
        return self._broken or name in self._values

    def get(self, name: str) -> Any:
        """Return the field as it came, or None."""
        return self._values.get(name)

    def refuse(self, name: str, sentence: str) -> None:
        """Note a mistake in a field of this object."""
        self.add(self.path_of(name), sentence)

    def add(self, path: str, sentence: str) -> None:
        """Note a mistake under a full path; beyond what an answer names they are not kept."""
        if path in self._errors or not is_full(self._errors):
            self._errors.setdefault(path, []).append(sentence)

    def text(
        self,
        name: str,
        *,
        characters: int | None = None,
        size_bytes: int | None = None,
        required: bool = False,
        one_line: bool = False,
        clean: Callable[[str], str] | None = None,
    ) -> str:
        """Return a text of at most ``characters`` or ``size_bytes``; empty when it is left out.

        ``clean`` makes of a text what is kept of it; what it makes is what is checked.
        """
        if name not in self._values:
            if required and not self._broken:
                self.refuse(name, _("This field is required."))
            return ""
        given = self._values[name]
        if clean is not None and isinstance(given, str):
            given = clean(given)
        value = self.checked_text(given, self.path_of(name), size_bytes)
        if characters is not None and len(value) > characters:
            self.refuse(name, _("At most %(high)d characters.") % {"high": characters})
        if required and isinstance(given, str) and not given.strip():
            self.refuse(name, _("Must not be empty."))
        if one_line and not is_one_line(value):
            self.refuse(name, not_one_line())
        return value

    def checked_text(self, value: object, path: str, size_bytes: int | None) -> str:
        """Return ``value`` if it is a text that can be stored, else note it and return ""."""
        if not isinstance(value, str):
            self.add(path, _("Must be a text."))
            return ""
        if "\x00" in value:
            self.add(path, _("NUL characters are not allowed."))
            return ""
        try:
            length = len(value) if value.isascii() else len(value.encode("utf-8"))
        except UnicodeEncodeError:
            self.add(path, _("A lone surrogate is not a character."))
            return ""
        if size_bytes is not None and length > size_bytes:
            self.add(path, _("At most %(high)d bytes.") % {"high": size_bytes})
            return ""
        return value

    def choice(self, name: str, choices: Sequence[Any], default: str) -> str:
        """Return one of ``choices``, or the default when it is left out."""
        if name not in self._values:
            return default
        value = self._values[name]
        if isinstance(value, str) and value in choices:
            return value
        self.refuse(name, _("Must be one of %(choices)s.") % {"choices": ", ".join(choices)})
        return default

    def whole(self, name: str, *, default: int, low: int, high: int) -> int:
        """Return a whole number from ``low`` to ``high``, or the default when it is left out."""
        if name not in self._values:
            return default
        value = self._values[name]
        if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
            return value
        self.refuse(
            name,
            _("Must be a whole number from %(low)d to %(high)d.") % {"low": low, "high": high},
        )
        return default

    def uuid(self, name: str) -> UUID | None:
        """Return an id, or None when it is left out or null."""
        value = self._values.get(name)
        if value is None:
            return None
        if isinstance(value, str) and len(value) == 36:
            try:
                return UUID(value)
            except ValueError:
                pass
        self.refuse(name, _("Must be an id such as 0198c2f0-…."))
        return None

    def items(self, name: str, *, low: int, high: int, required: bool = True) -> list[Any]:
        """Return a list of ``low`` to ``high`` entries; an empty one when it is wrong."""
        if name not in self._values:
            if required and not self._broken:
                self.refuse(name, _("This field is required."))
            return []
        value = self._values[name]
        if not isinstance(value, list):
            self.refuse(name, _("Must be a list."))
            return []
        if not low <= len(value) <= high:
            self.refuse(
                name, _("Must have %(low)d to %(high)d entries.") % {"low": low, "high": high}
            )
            return []
        return value
