"""Answers are compressed for clients that ask for it, but for those that carry a secret.

Django masks the CSRF token anew in each page and adds random bytes to the gzip header, against
attacks that read a secret off the length (BREACH); session cookies are SameSite=Lax besides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from django.http import HttpResponseBase
from django.middleware.gzip import GZipMiddleware

if TYPE_CHECKING:
    from django.http import HttpRequest

R = TypeVar("R", bound=HttpResponseBase)

# Images and the agent's archive are compressed already.
_TYPES = ("text/", "application/json", "application/problem+json", "application/vnd.oai.openapi")
_MARK = "_dm_keep_plain"


def keep_plain(response: R) -> R:
    """Mark an answer with a one-time secret: it is sent as it is, and kept by no cache."""
    setattr(response, _MARK, True)
    response["Cache-Control"] = "no-store"
    return response


class CompressionMiddleware(GZipMiddleware):
    """gzip for pages and JSON of 200 bytes and more.

    Left alone: what streams, what ``keep_plain`` marked, and what has an ETag of its own, which
    ``If-Match`` compares strongly while a compressed answer may only have a weak one.
    """

    def process_response(
        self, request: HttpRequest, response: HttpResponseBase
    ) -> HttpResponseBase:
        """Compress the answer if that is right and makes it shorter."""
        kind = response.get("Content-Type", "")
        if response.streaming or hasattr(response, _MARK) or response.has_header("ETag"):
            return response
        if not kind.startswith(_TYPES):
            return response
        compressed: HttpResponseBase = super().process_response(request, response)
        return compressed
