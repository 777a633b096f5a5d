"""Routes: API, pages, admin, health and metrics."""

from __future__ import annotations

from importlib.util import find_spec

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path

from devops_manager import health
from devops_manager.lib import problem

handler400 = problem.bad_request
handler403 = problem.permission_denied
handler404 = problem.not_found
handler500 = problem.server_error


def _routes(prefix: str, module: str) -> list[URLResolver]:
    try:
        found = find_spec(module)
    except ModuleNotFoundError:
        found = None
    return [path(prefix, include(module))] if found else []


urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
    path("admin/", admin.site.urls),
    *_routes("api/v1/", "devops_manager.access.api.urls"),
    *_routes("api/v1/", "hosts_app.api.urls"),
    *_routes("api/v1/", "tasks_app.api.urls"),
    *_routes("api/v1/", "agents_app.api.urls"),
    *_routes("", "devops_manager.pages.urls"),
    # Last of the API: what no route took gets problem+json, with DEBUG too.
    re_path(r"^api/", problem.not_found),
]
