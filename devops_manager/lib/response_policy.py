"""What every answer says of itself: what a browser may load for it, and that nobody keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse

# Everything from this server, nothing inline, no frames, forms only back to us.
_DIRECTIVES = (
    ("default-src", "'none'"),
    ("script-src", "'self'"),
    ("style-src", "'self'"),
    ("img-src", "'self' data:"),
    ("font-src", "'self'"),
    ("connect-src", "'self'"),
    ("form-action", "'self'"),
    ("frame-ancestors", "'none'"),
    ("base-uri", "'none'"),
)
# The one inline style of Django's admin, in lists without actions (admin/change_list.html).
ADMIN_STYLE = "'sha256-blvLUW3UscWqsXGByNOqdBboM+ShWAuugp2mC/wbafU='"
NOT_KEPT = "no-store, private"
_ADMIN = "/admin/"
# What is the same for everybody and no secret, and says itself how long it may be kept.
_PUBLIC = ("/static/", "/agent/")


def content_policy(path: str) -> str:
    """Return the content security policy of an answer at this address."""
    more = {"style-src": f" {ADMIN_STYLE}"} if path.startswith(_ADMIN) else {}
    return "; ".join(f"{name} {value}{more.get(name, '')}" for name, value in _DIRECTIVES)


class ResponsePolicyMiddleware:
    """The outermost of all, so that redirects and refusals of other middleware carry it too."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Keep the next handler."""
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Serve one request, and say what may be done with its answer."""
        path = request.path
        response = self.get_response(request)
        response.headers.setdefault("Content-Security-Policy", content_policy(path))
        if not (path.startswith(_PUBLIC) and response.status_code < 400):
            response["Cache-Control"] = NOT_KEPT
        return response
