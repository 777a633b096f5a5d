"""Routes: API, pages, admin, health and metrics."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import RedirectView

from agents_app.api import downloads
from devops_manager import health
from devops_manager.access.api.schema import DocsView, SchemaView
from devops_manager.lib import problem
from devops_manager.pages import error_pages
from devops_manager.pages.views import account

handler400 = error_pages.bad_request
handler403 = error_pages.permission_denied
handler404 = error_pages.not_found
handler500 = error_pages.server_error

urlpatterns: list[URLPattern | URLResolver] = [
    path("healthz", health.healthz, name="healthz"),
    path("readyz", health.readyz, name="readyz"),
    path("metrics", health.metrics, name="metrics"),
    path("agent/devops-agent.pyz", downloads.agent, name="agent-download"),
    path("agent/devops-agent.pyz.sha256", downloads.checksum, name="agent-checksum"),
    path("agent/install.sh", downloads.install, name="agent-install"),
    # One door in, one out, one for the password: limited, audited. The admin's own are neither.
    path("admin/login/", RedirectView.as_view(pattern_name="login", query_string=True)),
    path("admin/logout/", account.sign_out),
    path("admin/password_change/", RedirectView.as_view(pattern_name="password_change")),
    path("admin/", admin.site.urls),
    path("api/schema", SchemaView.as_view(), name="schema"),
    path("api/docs", DocsView.as_view(url_name="schema"), name="docs"),
    path("api/v1/", include("devops_manager.access.api.urls")),
    path("api/v1/", include("hosts_app.api.urls")),
    path("api/v1/", include("tasks_app.api.urls")),
    path("api/v1/", include("agents_app.api.urls")),
    # Last of the API: what no route took gets problem+json, with DEBUG too.
    re_path(r"^api(/|$)", csrf_exempt(problem.not_found)),
    path("", include("devops_manager.pages.urls")),
]
