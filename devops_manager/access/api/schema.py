"""The description of the API, and the page that shows it, both from local files."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from django.conf import settings
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from devops_manager.access.models import Role
from devops_manager.access.permissions import READERS, RolePermission
from devops_manager.lib.pagination import MAX_OFFSET

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
_NO_NUL = "^[^\\x00]*$"
# Within these every moment can be told in every time zone.
_NEAR = "^(?!000[01]|9999)"
_REFERENCE = "#/components/schemas/"


def describe_problems(result: dict[str, Any], **_kwargs: object) -> dict[str, Any]:
    """Say what errors look like, and what every text and page must be (the last hook)."""
    schemas = result["components"].setdefault("schemas", {})
    schemas["Problem"] = _PROBLEM
    _simplify(schemas)
    for operation in _operations(result):
        for parameter in operation.get("parameters", []):
            _limit_parameter(parameter)
    for name in _sent(result):
        described = schemas[name]
        if "properties" in described:
            described["additionalProperties"] = False  # unknown fields are refused everywhere
        _limit_texts(described)
    return result


def _simplify(described: Any) -> None:
    """Say "anything" once: anything or null, one of them, would leave null out."""
    parts = described.values() if isinstance(described, dict) else described
    for part in parts:
        if isinstance(part, dict) and part.get("oneOf") == [{}, {"type": "null"}]:
            del part["oneOf"]
        if isinstance(part, dict | list):
            _simplify(part)


def _operations(result: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for operations in result["paths"].values():
        yield from (one for method, one in operations.items() if method in _METHODS)


def _limit_parameter(parameter: dict[str, Any]) -> None:
    described = parameter["schema"]
    if parameter["name"] == "size":
        described |= {"minimum": 1, "maximum": settings.DM_PAGE_SIZE_MAX}
    elif parameter["name"] == "page":
        described |= {"minimum": 1, "maximum": MAX_OFFSET // settings.DM_PAGE_SIZE_MAX}
    _limit_texts(described)


def _sent(result: dict[str, Any]) -> set[str]:
    """Return the names of the schemas that bodies of requests are made of."""
    found: set[str] = set()
    todo = [operation.get("requestBody") for operation in _operations(result)]
    while todo:
        part = todo.pop()
        if isinstance(part, list):
            todo.extend(part)
        elif isinstance(part, dict):
            name = str(part.get("$ref", "")).removeprefix(_REFERENCE)
            if name and name not in found:
                found.add(name)
                todo.append(result["components"]["schemas"][name])
            todo.extend(part.values())
    return found


def _limit_texts(described: Any) -> None:
    """Say of every text that NUL is refused, and of every moment how far it may be."""
    if isinstance(described, list):
        for part in described:
            _limit_texts(part)
    elif isinstance(described, dict):
        kinds = described.get("type")
        if "string" in ([kinds] if isinstance(kinds, str) else kinds or []):
            _limit_text(described)
        for part in list(described.values()):
            _limit_texts(part)


def _limit_text(described: dict[str, Any]) -> None:
    form = described.get("format")
    if form == "date-time":
        described.setdefault("pattern", _NEAR)
    elif form is None and not {"enum", "const"} & described.keys():
        described.setdefault("pattern", _NO_NUL)


class SchemaView(SpectacularAPIView):
    """OpenAPI 3 as YAML, or as JSON when asked."""

    permission_classes = [RolePermission]
    permissions: ClassVar[dict[str, frozenset[Role]]] = {"get": READERS}


class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI; its script comes from an address of its own, for no page runs inline ones."""

    permission_classes = [RolePermission]
    permissions: ClassVar[dict[str, frozenset[Role]]] = {"get": READERS}
