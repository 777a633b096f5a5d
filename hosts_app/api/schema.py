"""Describes for OpenAPI the pages of views that are not DRF's lists."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, inline_serializer
from rest_framework import serializers

PAGE_PARAMETERS = [
    OpenApiParameter("page", int, description="Which page, from 1."),
    OpenApiParameter("size", int, description="Rows a page."),
]


def paged(
    name: str,
    rows: type[serializers.BaseSerializer[Any]],
    **more: serializers.Field[Any, Any, Any, Any],
) -> serializers.Serializer[Any]:
    """Return the shape ``{count, page, size, results}`` around rows, with ``more`` beside them."""
    return inline_serializer(
        f"Paginated{name}",
        {
            "count": serializers.IntegerField(),
            "page": serializers.IntegerField(),
            "size": serializers.IntegerField(),
            "results": rows(many=True),
            **more,
        },
    )
