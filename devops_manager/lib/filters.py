"""Filters of lists: a parameter that a list does not know is refused, not ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from django.utils.translation import gettext as _
from django_filters.rest_framework import DjangoFilterBackend

from devops_manager.lib.errors import InvalidInput
from devops_manager.lib.pagination import PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Collection

    from django.db.models import QuerySet
    from django.http import HttpRequest
    from rest_framework.request import Request
    from rest_framework.views import APIView


def refuse_unknown(request: Request, known: Collection[str]) -> None:
    """Raise InvalidInput naming each query parameter that is neither known nor the page's."""
    unknown = sorted(set(request.query_params) - set(known) - set(PARAMETERS))
    if unknown:
        raise InvalidInput(
            _("The filter is not valid."), fields={name: [_("Unknown filter.")] for name in unknown}
        )


class StrictFilterBackend(DjangoFilterBackend):
    """django-filter's backend, for views that declare ``filterset_class`` or nothing."""

    def filter_queryset(
        self, request: HttpRequest | Request, queryset: QuerySet[Any], view: APIView
    ) -> QuerySet[Any]:
        """Return the filtered rows. Raises InvalidInput, or ValidationError for wrong values."""
        filterset_class = self.get_filterset_class(view, queryset)
        known = filterset_class.base_filters if filterset_class else ()
        names = {name for key in known for name in _parameters(filterset_class, key)}
        refuse_unknown(cast("Request", request), names)
        return super().filter_queryset(request, queryset, view)


def _parameters(filterset_class: Any, name: str) -> set[str]:
    """Return a filter's parameters: a range has several, named by its widget's suffixes."""
    widget = filterset_class.base_filters[name].field.widget
    suffixes = getattr(widget, "suffixes", None)
    return {f"{name}_{suffix}" for suffix in suffixes} if suffixes else {name}
