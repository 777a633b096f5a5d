"""Filters of lists: a parameter that a list does not know is refused, not ignored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import django_filters
from django import forms
from django.utils.translation import gettext as _
from django_filters.rest_framework import DjangoFilterBackend
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field

from devops_manager.lib.errors import InvalidInput, is_full
from devops_manager.lib.moments import parse_moment
from devops_manager.lib.pagination import PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Collection

    from django.db.models import QuerySet
    from django.http import HttpRequest
    from rest_framework.request import Request
    from rest_framework.views import APIView

_SHOWN_CHARACTERS = 100


def refuse_unknown(
    request: Request, known: Collection[str], *, several: Collection[str] = (), paged: bool = True
) -> None:
    """Raise InvalidInput naming each query parameter that cannot be meant as it is.

    Those that are neither ``known`` nor, when ``paged``, the page's; those that are given more than
    once and not in ``several``, for taking one of them would be guessing.
    """
    taken = {*known, *PARAMETERS} if paged else set(known)
    wrong: dict[str, list[str]] = {}
    for name, values in request.query_params.lists():
        if name not in taken:
            wrong[name[:_SHOWN_CHARACTERS]] = [_("Unknown filter.")]
        elif len(values) > 1 and name not in several:
            wrong[name] = [_("Given more than once.")]
        if is_full(wrong):
            break
    if wrong:
        raise InvalidInput(_("The filter is not valid."), fields=wrong)


@extend_schema_field(OpenApiTypes.DATETIME)
class MomentFilter(django_filters.Filter):
    """A moment as ``parse_moment`` reads it."""

    class _Field(forms.Field):
        def to_python(self, value: Any) -> Any:
            """Return the moment, or None for nothing."""
            if value in self.empty_values:
                return None
            moment = parse_moment(str(value))
            if moment is None:
                raise forms.ValidationError(not_a_moment())
            return moment

    field_class = _Field


class AnyOfFilter(django_filters.MultipleChoiceFilter):
    """One of the choices; given several times, any of those given. An empty one is none."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take a list without its empty texts: forms send those for "any"."""
        super().__init__(*args, **options, widget=_Given)


@extend_schema_field({"type": "array", "items": {"type": "string"}})
class EveryTextFilter(django_filters.Filter):
    """Texts that may be given several times, all of which count; an empty one is none."""

    def __init__(self, *args: Any, max_length: int, **options: Any) -> None:
        """Take texts of at most ``max_length`` characters."""
        super().__init__(*args, **options, max_length=max_length, widget=_Given)

    class _Field(forms.Field):
        def __init__(self, *args: Any, max_length: int, **options: Any) -> None:
            super().__init__(*args, **options)
            self.each = forms.CharField(max_length=max_length, strip=False)

        def clean(self, value: Any) -> list[str]:
            """Return the texts. Raises ValidationError for one that is too long."""
            return [self.each.clean(text) for text in value]

    field_class = _Field


class _Given(forms.SelectMultiple):
    def value_from_datadict(self, data: Any, files: Any, name: str) -> Any:
        """Return the values given that are not empty."""
        given = super().value_from_datadict(data, files, name) or []
        return [value for value in given if value]


def not_a_moment() -> str:
    """Return what is said of a text that is no moment."""
    return _("Must be a date and time such as 2026-11-24T08:00:00Z.")


_SEVERAL = (AnyOfFilter, EveryTextFilter)


class StrictFilterBackend(DjangoFilterBackend):
    """django-filter's backend, for views that declare ``filterset_class`` or nothing."""

    def filter_queryset(
        self, request: HttpRequest | Request, queryset: QuerySet[Any], view: APIView
    ) -> QuerySet[Any]:
        """Return the filtered rows. Raises InvalidInput, or ValidationError for wrong values."""
        filterset_class = self.get_filterset_class(view, queryset)
        known = filterset_class.base_filters if filterset_class else {}
        several = {name for name, one in known.items() if isinstance(one, _SEVERAL)}
        refuse_unknown(cast("Request", request), known, several=several)
        return super().filter_queryset(request, queryset, view)
