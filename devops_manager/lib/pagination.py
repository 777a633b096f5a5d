"""Bounded pages: ``page`` and ``size`` in, ``{count, page, size, results}`` out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.conf import settings
from django.utils.translation import gettext as _
from rest_framework.pagination import BasePagination
from rest_framework.response import Response

from devops_manager.lib.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.db.models import QuerySet
    from rest_framework.request import Request
    from rest_framework.views import APIView

PAGE_SIZE = 20
# PostgreSQL reads and throws away every row before an offset.
MAX_OFFSET = 1_000_000
PARAMETERS = ("page", "size")


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is asked for: page ``number`` from 1, of ``size`` rows."""

    number: int
    size: int

    @property
    def offset(self) -> int:
        """Return how many rows stand before the page."""
        return (self.number - 1) * self.size


def parse_page(parameters: Mapping[str, str]) -> Page:
    """Return the page that a query string asks for.

    Raises InvalidInput naming ``page`` or ``size``: no number, below 1, beyond DM_PAGE_SIZE_MAX.
    """
    size = _whole(parameters, "size", default=PAGE_SIZE, high=settings.DM_PAGE_SIZE_MAX)
    number = _whole(parameters, "page", default=1, high=MAX_OFFSET // size)
    return Page(number=number, size=size)


def _whole(parameters: Mapping[str, str], name: str, *, default: int, high: int) -> int:
    text = parameters.get(name, "")
    if text == "":
        return default
    if text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= high:
        return int(text)
    raise InvalidInput(
        _("The page cannot be shown."),
        fields={name: [_("Must be a whole number from 1 to %(high)d.") % {"high": high}]},
    )


def refuse_beyond_end(page: Page, count: int) -> None:
    """Raise NotFound naming ``page`` when the list ends before it; page 1 always exists."""
    if page.number > 1 and page.offset >= count:
        last = max(1, -(-count // page.size))
        raise NotFound(
            _("There is no such page."),
            fields={"page": [_("The last page is %(last)d.") % {"last": last}]},
        )


def envelope(*, count: int, page: Page, results: Sequence[Any]) -> dict[str, Any]:
    """Return the body of a list's answer."""
    return {"count": count, "page": page.number, "size": page.size, "results": results}


class BoundedPagination(BasePagination):
    """DRF's hook for the functions above. ``count_limit``: counting stops there (None: exact)."""

    count_limit: ClassVar[int | None] = None
    page: Page
    count: int

    def paginate_queryset(
        self,
        queryset: QuerySet[Any] | Sequence[Any],
        request: Request,
        view: APIView | None = None,
    ) -> list[Any]:
        """Return the rows of the page asked for."""
        self.page = parse_page(request.query_params)
        counted = cast("QuerySet[Any]", queryset).order_by()
        if self.count_limit is not None:
            counted = counted[: self.count_limit]
        self.count = counted.count()
        refuse_beyond_end(self.page, self.count)
        return list(queryset[self.page.offset : self.page.offset + self.page.size])

    def get_paginated_response(self, data: Any) -> Response:
        """Return the answer around the rows."""
        return Response(envelope(count=self.count, page=self.page, results=data))

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Describe the answer for OpenAPI."""
        number = {"type": "integer", "minimum": 0}
        return {
            "type": "object",
            "required": ["count", "page", "size", "results"],
            "properties": {"count": number, "page": number, "size": number, "results": schema},
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        """Describe ``page`` and ``size`` for OpenAPI."""
        return [
            {
                "name": name,
                "in": "query",
                "required": False,
                "description": description,
                "schema": {"type": "integer", "minimum": 1, "default": default},
            }
            for name, description, default in (
                ("page", "Which page, from 1.", 1),
                ("size", f"Rows a page, at most {settings.DM_PAGE_SIZE_MAX}.", PAGE_SIZE),
            )
        ]


class CappedPagination(BoundedPagination):
    """For tables of millions of rows: the count stops at 10,000, and so do the pages."""

    count_limit = 10_000
