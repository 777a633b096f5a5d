"""Serves the agent and its install script to anyone: they carry no secret."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.http import HttpResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from agents_app.agent_build import agent_bytes, agent_sha256, install_script

if TYPE_CHECKING:
    from django.http import HttpRequest

FILE_NAME = "devops-agent.pyz"


@require_safe
def agent(_request: HttpRequest) -> HttpResponse:
    """Answer with the agent, and its SHA-256 in ``X-Checksum-Sha256``."""
    digest = agent_sha256()
    return HttpResponse(
        agent_bytes(),
        content_type="application/octet-stream",
        headers={
            "Content-Disposition": f'attachment; filename="{FILE_NAME}"',
            "X-Checksum-Sha256": digest,
            "ETag": f'"{digest}"',
        },
    )


@require_safe
def checksum(_request: HttpRequest) -> HttpResponse:
    """Answer with a line that ``sha256sum --check`` takes."""
    return HttpResponse(
        f"{agent_sha256()}  {FILE_NAME}\n", content_type="text/plain; charset=utf-8"
    )


@require_safe
def install(request: HttpRequest) -> HttpResponse:
    """Answer with the install script of this server; the enrolment token is its argument."""
    script = install_script(
        server_url=settings.DM_GATEWAY_URL,
        download_url=request.build_absolute_uri(reverse("agent-download")),
    )
    return HttpResponse(script, content_type="text/x-shellscript; charset=utf-8")
