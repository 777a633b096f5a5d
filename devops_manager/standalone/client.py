"""A small client of the HTTP API, on the standard library."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlencode

from devops_manager.embedded.language import gettext as _

_TIMEOUT_SECONDS = 15.0


class ApiError(Exception):
    """The API refused or could not be reached; ``status`` is 0 in the latter case."""

    def __init__(self, status: int, text: str) -> None:
        """Keep the HTTP status and what the API says."""
        super().__init__(text)
        self.status = status


class Api:
    """Calls of ``/api/v1`` with a bearer token."""

    def __init__(self, *, base_url: str, token: str) -> None:
        """``base_url`` is the web process's address, without a slash at the end."""
        self._base_url = base_url
        self._token = token
        # The addresses are on this machine: a proxy from the environment is no use.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

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
            answer = self.get(path, page=page, page_size=200, **query)
            items += answer["results"]
            if not answer.get("next"):
                return items
            page += 1

    def answers(self, path: str) -> bool:
        """Tell whether a path of the web process, such as ``/readyz``, answers with success."""
        try:
            self._call("GET", path, None)
        except ApiError:
            return False
        return True

    def _call(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        request = urllib.request.Request(
            self._base_url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
                "Accept": "application/json",
            },
        )
        try:
            with self._opener.open(request, timeout=_TIMEOUT_SECONDS) as response:
                return _decoded(response.read())
        except urllib.error.HTTPError as error:
            with error:
                raise ApiError(error.code, _refusal(method, path, error)) from None
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(0, f"{method} {path}: {error}") from None


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data) if data else None
    except ValueError:
        return None  # a health page may be plain text


def _refusal(method: str, path: str, error: urllib.error.HTTPError) -> str:
    text = error.read(4000).decode("utf-8", "replace")
    problem = _decoded(text.encode())
    if isinstance(problem, dict) and "detail" in problem:
        text = str(problem["detail"])
        if problem.get("errors"):
            text += f" {problem['errors']}"
    return _("%(method)s %(path)s was answered %(status)d: %(text)s") % {
        "method": method,
        "path": path,
        "status": error.code,
        "text": text,
    }
