"""How the tasks API answers: selectors' dataclasses and cached bytes as JSON, output as bytes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
from django.http import HttpResponse
from rest_framework.renderers import BaseRenderer

if TYPE_CHECKING:
    from collections.abc import Mapping

JSON = "application/json"
BYTES = "application/octet-stream"


def json_answer(value: Any, *, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """Return a dataclass as JSON: the same encoding as what is cached."""
    return HttpResponse(msgspec.json.encode(value), content_type=JSON, headers=headers)


def json_bytes(body: bytes) -> HttpResponse:
    """Return encoded JSON as it is."""
    return HttpResponse(body, content_type=JSON)


class BytesRenderer(BaseRenderer):
    """Lets a client ask for ``application/octet-stream``; what it renders itself are problems."""

    media_type = BYTES
    format = "bin"
    charset = None
    render_style = "binary"

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        """Return a problem's body."""
        return json.dumps(data).encode()
