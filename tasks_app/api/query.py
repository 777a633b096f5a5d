"""Reads query parameters of the tasks API strictly: a wrong or unknown one is refused by name."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from devops_manager.lib.decoding import require_charset
from devops_manager.lib.errors import InvalidInput
from devops_manager.lib.filters import refuse_unknown

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from rest_framework.request import Request


class Query:
    """The parameters of one request, of which only ``known`` and the page's may be there."""

    def __init__(self, request: Request, *known: str) -> None:
        """Raise InvalidInput for parameters that are not known, and for NUL characters."""
        refuse_unknown(request, known)
        self._values = request.query_params
        for name, value in self._values.items():
            if "\x00" in value:
                raise _refused(name, _("NUL characters are not allowed."))

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
        try:
            # A plus sign that was not escaped arrives as a blank.
            found = parse_datetime(value.replace(" ", "+") if value.count(":") > 2 else value)
        except ValueError:
            found = None
        if found is None:
            raise _refused(name, _("Must be a date and time such as 2026-11-24T08:00:00Z."))
        return timezone.make_aware(found) if timezone.is_naive(found) else found


def _refused(name: str, sentence: str) -> InvalidInput:
    return InvalidInput(_("The query is not valid."), fields={name: [sentence]})
