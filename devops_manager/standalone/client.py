"""A small client of the HTTP API, on the standard library."""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlencode, urlsplit

from devops_manager.embedded.language import gettext as _

_TIMEOUT_SECONDS = 15.0
_PAGE_SIZE = 200
_SHOWN_BYTES = 4000


class ApiError(Exception):
    """The API refused or could not be reached; ``status`` is 0 in the latter case."""

    def __init__(self, status: int, text: str) -> None:
        """Keep the HTTP status and what the API says."""
        super().__init__(text)
        self.status = status


class Api:
    """Calls of ``/api/v1`` with a bearer token, and of the health pages."""

    def __init__(self, *, base_url: str, token: str) -> None:
        """``base_url`` is the process's address, such as ``http://127.0.0.1:8080``."""
        self._address = urlsplit(base_url).netloc
        self._token = token

    def get(self, path: str, **query: str | int) -> Any:
        """Return the decoded answer to a GET below ``/api/v1/``."""
        suffix = f"?{urlencode(query)}" if query else ""
        return self._call("GET", f"/api/v1/{path}{suffix}", None)

    def post(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the decoded answer to a POST below ``/api/v1/``."""
        return self._call("POST", f"/api/v1/{path}", body or {})

    def every(self, path: str, **query: str | int) -> list[Any]:
        """Return the items of all pages of a list."""
        items: list[Any] = []
        page = 1
        while True:
            answer = self.get(path, page=page, size=_PAGE_SIZE, **query)
            items += answer["results"]
            if not answer["results"] or len(items) >= answer["count"]:
                return items
            page += 1

    def ready(self, service: str, instance: str) -> dict[str, Any] | None:
        """Return what ``/readyz`` says, or None unless it is ready and who it is meant to be.

        Another server on the port, be it of this project or not, is not taken for this one.
        """
        try:
            answer = self._call("GET", "/readyz", None)
        except ApiError:
            return None
        meant = {"service": service, "instance": instance}
        if not isinstance(answer, dict) or not meant.items() <= answer.items():
            return None
        return answer

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        connection = http.client.HTTPConnection(self._address, timeout=_TIMEOUT_SECONDS)
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, body=text, headers=headers)
            response = connection.getresponse()
            data = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(0, f"{method} {path}: {error}") from None
        finally:
            connection.close()
        if response.status >= 400:
            raise ApiError(response.status, _refusal(method, path, response.status, data))
        return _decoded(data)


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data) if data else None
    except ValueError:
        return None  # a health page may be plain text


def _refusal(method: str, path: str, status: int, data: bytes) -> str:
    text = data[:_SHOWN_BYTES].decode("utf-8", "replace")
    problem = _decoded(data)
    if isinstance(problem, dict) and "detail" in problem:
        text = str(problem["detail"])
        if problem.get("errors"):
            text += f" {problem['errors']}"
    return _("%(method)s %(path)s was answered %(status)d: %(text)s") % {
        "method": method,
        "path": path,
        "status": status,
        "text": text,
    }
