"""Reads query parameters of the tasks API strictly: a wrong or unknown one is refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from django.utils.translation import gettext as _

from devops_manager.lib.decoding import require_charset
from devops_manager.lib.errors import InvalidInput
from devops_manager.lib.filters import not_a_moment, refuse_unknown
from devops_manager.lib.moments import parse_moment

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from rest_framework.request import Request


class Query:
    """The parameters of one request, of which only ``known`` and the page's may be there."""

    def __init__(
        self, request: Request, *known: str, several: Collection[str] = (), paged: bool = False
    ) -> None:
        """Raise InvalidInput for parameters that are not known, or given again (but ``several``).

        ``paged``: the page's are known, too.
        """
        refuse_unknown(request, (*known, *several), several=several, paged=paged)
        self._values = request.query_params

    def text(self, name: str, *, characters: int = 253) -> str:
        """Return a text; empty when it is left out."""
        value = self._values.get(name, "")
        if len(value) > characters:
            raise _refused(name, _("At most %(high)d characters.") % {"high": characters})
        return value

    def choice(self, name: str, choices: Sequence[str], default: str = "") -> str:
        """Return one of the choices, or the default when it is left out or empty."""
        value = self._values.get(name, "") or default
        if value != default and value not in choices:
            raise _refused(name, _("Must be one of %(choices)s.") % {"choices": ", ".join(choices)})
        return value

    def choices(self, name: str, choices: Sequence[str]) -> tuple[str, ...]:
        """Return those of the choices that are given, any of which will do; none: all of them."""
        given = dict.fromkeys(value for value in self._values.getlist(name) if value)
        for value in given:
            if value not in choices:
                raise _refused(
                    name, _("Must be one of %(choices)s.") % {"choices": ", ".join(choices)}
                )
        return tuple(given)

    def charset(self, name: str) -> str:
        """Return one of CHARSETS by any of its names; empty when it is left out or empty."""
        value = self._values.get(name, "")
        try:
            return require_charset(value) if value else ""
        except ValueError as error:
            raise _refused(name, str(error)) from None

    def uuid(self, name: str) -> UUID | None:
        """Return an id, or None when it is left out."""
        value = self._values.get(name, "")
        if not value:
            return None
        try:
            return UUID(value)
        except ValueError:
            raise _refused(name, _("Must be an id.")) from None

    def required_uuid(self, name: str) -> UUID:
        """Return an id that must be there."""
        value = self.uuid(name)
        if value is None:
            raise _refused(name, _("This parameter is required."))
        return value

    def whole(self, name: str, *, default: int, low: int, high: int) -> int:
        """Return a whole number in range, or the default when it is left out."""
        value = self._values.get(name, "")
        if not value:
            return default
        if value.isascii() and value.isdigit() and len(value) <= 18 and low <= int(value) <= high:
            return int(value)
        raise _refused(
            name,
            _("Must be a whole number from %(low)d to %(high)d.") % {"low": low, "high": high},
        )

    def moment(self, name: str) -> datetime | None:
        """Return a moment in ISO 8601 (without an offset: in the server's time zone), or None."""
        value = self._values.get(name, "")
        if not value:
            return None
        found = parse_moment(value)
        if found is None:
            raise _refused(name, not_a_moment())
        return found


def _refused(name: str, sentence: str) -> InvalidInput:
    return InvalidInput(_("The query is not valid."), fields={name: [sentence]})
