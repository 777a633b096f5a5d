"""Describes for OpenAPI what the door takes of every call: keys, versions, and how it refuses."""

from __future__ import annotations

from typing import Any

from drf_spectacular.openapi import AutoSchema

from devops_manager.lib import versions

MEDIA_TYPE = "application/problem+json"
PROBLEM = {"$ref": "#/components/schemas/Problem"}
KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same request under the same key is done only once.",
    "schema": {"type": "string", "pattern": "^[\\x21-\\x7e]{1,200}$"},
}
IF_MATCH = {
    "name": versions.HEADER,
    "in": "header",
    "description": "The ETag of the answer that was edited; 412 when it is no longer the same.",
    "schema": {"type": "string", "pattern": '^("[A-Za-z0-9._-]{1,100}"|[A-Za-z0-9._-]{1,100})$'},
    "example": '"7"',
}
_SAFE = {"GET", "HEAD", "OPTIONS"}
_WHY = {
    "400": "Something in it is wrong; `errors` names what",
    "401": "Nobody is signed in, or the proof is wrong",
    "403": "Known, but not allowed",
    "404": "No such thing",
    "406": "Nothing that the client takes",
    "409": "The state of things does not allow it now",
    "412": "Somebody else has changed it since",
    "413": "The body is too large",
    "414": "The address is too long",
    "415": "The body is not JSON",
    "429": "A limit holds now; try again after `Retry-After` seconds",
    "default": "Any other error",
    "503": "Something is away; try again after `Retry-After` seconds",
}


class GuardedSchema(AutoSchema):
    """drf-spectacular's description with that of ``devops_manager.access.door``."""

    def get_operation(self, *args: Any, **kwargs: Any) -> dict[str, Any] | None:
        """Return the operation, or None for one that is not described."""
        operation: dict[str, Any] | None = super().get_operation(*args, **kwargs)
        if operation is None:
            return None
        act = getattr(self.view, "action", None) or self.method.lower()
        conditional = act in getattr(self.view, "conditional", ())
        keyless = self.method in _SAFE or act in getattr(self.view, "keyless", ())
        more = [KEY] * (not keyless) + [IF_MATCH] * conditional
        if more:
            operation["parameters"] = [*operation.get("parameters", []), *more]
        self._add_refusals(operation, conditional=conditional)
        return operation

    def _map_serializer_field(self, field: Any, *args: Any, **kwargs: Any) -> Any:
        described: Any = super()._map_serializer_field(  # type: ignore[no-untyped-call]
            field, *args, **kwargs
        )
        if getattr(field, "unique_items", False):
            described["uniqueItems"] = True
        return described

    def _add_refusals(self, operation: dict[str, Any], *, conditional: bool) -> None:
        refused = {"400", "401", "403", "404", "406", "414", "503"}
        if self.method not in _SAFE:
            refused |= {"409", "413", "415", "429"}
        if conditional:
            refused.add("412")
        for status in [*sorted(refused - set(operation["responses"])), "default"]:
            operation["responses"][status] = {
                "description": _WHY[status],
                "content": {MEDIA_TYPE: {"schema": PROBLEM}},
            }
