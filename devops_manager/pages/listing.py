"""One page of a list of any length: counting stops at 10,000; no page reads a whole table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from django.db.models import Model

from devops_manager.lib.pagination import PARAMETERS, Page, parse_page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from django.db.models import QuerySet

    from tasks_app.selectors.shapes import Page as SelectedPage

T = TypeVar("T")
M = TypeVar("M", bound=Model)
COUNT_AT_MOST = 10_000
PAGE_SIZE = "50"


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """The rows of one page, and where it stands. ``capped``: there are more than ``count``."""

    rows: Sequence[T]
    number: int
    size: int
    count: int
    capped: bool

    @property
    def pages(self) -> int:
        """Return the number of the last page."""
        return max(1, -(-self.count // self.size))

    @property
    def previous_number(self) -> int:
        """Return the page before."""
        return max(1, self.number - 1)

    @property
    def next_number(self) -> int:
        """Return the page after."""
        return self.number + 1


def asked_page(parameters: Mapping[str, str]) -> Page:
    """Return the page asked for, of 50 rows unless ``size`` says otherwise. Raises InvalidInput."""
    given = {name: parameters[name] for name in PARAMETERS if parameters.get(name)}
    return parse_page({"size": PAGE_SIZE} | given)


def list_rows(rows: QuerySet[M], parameters: Mapping[str, str]) -> Listing[M]:
    """Return the page of an ordered queryset that a query string asks for, or its last one."""
    asked = asked_page(parameters)
    count = rows.order_by()[: COUNT_AT_MOST + 1].count()
    capped = count > COUNT_AT_MOST
    count = min(count, COUNT_AT_MOST)
    last = max(1, -(-count // asked.size))
    number = min(asked.number, last)
    start = (number - 1) * asked.size
    return Listing(
        rows=list(rows[start : start + asked.size]),
        number=number,
        size=asked.size,
        count=count,
        capped=capped,
    )


def listing_of(page: SelectedPage[T]) -> Listing[T]:
    """Return a selector's page as templates show it."""
    return Listing(
        rows=page.results,
        number=page.page,
        size=page.size,
        count=page.count,
        capped=page.count >= COUNT_AT_MOST,
    )
