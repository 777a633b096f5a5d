"""The description of the API, and the page that shows it, both from local files."""

from __future__ import annotations

from typing import Any, ClassVar

from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from devops_manager.access.models import Role
from devops_manager.access.permissions import READERS, RolePermission
from devops_manager.lib.problem import MEDIA_TYPE

_PROBLEM = {
    "type": "object",
    "description": "RFC 9457. `code` is stable; `errors` names the fields at fault by full path.",
    "required": ["type", "title", "status", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "string"}},
        },
    },
}
_METHODS = {"get", "put", "post", "delete", "patch"}


def describe_problems(result: dict[str, Any], **_kwargs: object) -> dict[str, Any]:
    """Say of every operation that its errors are problem+json (drf-spectacular's last hook)."""
    result["components"].setdefault("schemas", {})["Problem"] = _PROBLEM
    answer = {
        "description": "An error",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    for operations in result["paths"].values():
        for method, operation in operations.items():
            if method in _METHODS:
                operation["responses"].setdefault("default", answer)
    return result


class SchemaView(SpectacularAPIView):
    """OpenAPI 3 as YAML, or as JSON when asked."""

    permission_classes = [RolePermission]
    permissions: ClassVar[dict[str, frozenset[Role]]] = {"get": READERS}


class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI; its script comes from an address of its own, for no page runs inline ones."""

    permission_classes = [RolePermission]
    permissions: ClassVar[dict[str, frozenset[Role]]] = {"get": READERS}
