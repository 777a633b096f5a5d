"""Tokens for hosts that are to join. The secret is shown once, in the command to run there."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from agents_app.services import tokens as enrollment
from devops_manager.access.permissions import ADMINS
from devops_manager.lib.compression import keep_plain
from devops_manager.lib.errors import DomainError
from devops_manager.pages import host_reads, reads
from devops_manager.pages.forms.tokens import EnrollmentTokenForm
from devops_manager.pages.gate import act, page, show
from devops_manager.pages.listing import list_rows
from devops_manager.pages.live import OTHERWISE
from devops_manager.pages.views.tokens import refuse

if TYPE_CHECKING:
    from uuid import UUID

    from django.http import HttpRequest, HttpResponse

    from agents_app.models import EnrollmentToken
    from devops_manager.access.actors import Actor


@page("GET", "HEAD", "POST", roles=ADMINS)
def enrollment_tokens(request: HttpRequest, actor: Actor) -> HttpResponse:
    """List enrolment tokens, and make one."""
    groups = reads.group_names(actor=actor)
    form = EnrollmentTokenForm(request.POST or None, groups=groups)
    status = 200
    context: dict[str, Any] = {}
    if request.method == "POST":
        made = _make(actor, form) if form.is_valid() else None
        status = 201 if made else 400
        if made:
            token, secret = made
            context = {
                "token": token,
                "secret": secret,
                "install_command": install_command(
                    request.build_absolute_uri(reverse("agent-install")), secret
                ),
            }
            form = EnrollmentTokenForm(groups=groups)
    context |= {
        "section": "enrol",
        "every": OTHERWISE,
        "form": form,
        "now": timezone.now(),
        "listing": list_rows(host_reads.enrollment_tokens(), request.GET),
    }
    response = show(request, "pages/enrollment_tokens.html", context, status=status)
    return keep_plain(response) if "secret" in context else response


def _make(actor: Actor, form: EnrollmentTokenForm) -> tuple[EnrollmentToken, str] | None:
    data = form.cleaned_data
    try:
        return enrollment.create_enrollment_token(
            actor=actor,
            name=data["name"],
            auto_approve=data["auto_approve"],
            groups=data.get("groups", []),
            max_uses=data["max_uses"],
            expires_at=form.expires_at(),
        )
    except DomainError as error:
        refuse(form, error)
        return None


def install_command(script_url: str, secret: str) -> str:
    """Return the line to paste into a shell of a host, root's or that of a user who may sudo.

    It ends with a status other than 0 when the download or the installation fails, and leaves
    nothing behind. The token goes through a file that nobody else reads, never over a command line
    that every user of the host could see.
    """
    plain = "" if settings.DM_GATEWAY_URL.startswith("https://") else " --allow-http"
    return (
        "(s=; d=$(mktemp -d) && trap 'rm -rf \"$d\"' EXIT"
        f' && curl -fsSLo "$d/install.sh" {shlex.quote(script_url)}'
        f' && echo {shlex.quote(secret)} >"$d/token"'
        ' && { [ "$(id -u)" = 0 ] || s=sudo; }'
        f' && $s sh "$d/install.sh" --token-file "$d/token"{plain})'
    )


@page("POST", roles=ADMINS)
def enrollment_token_revoke(request: HttpRequest, actor: Actor, token_id: UUID) -> HttpResponse:
    """Revoke an enrolment token; hosts that joined with it stay."""
    return act(
        request,
        lambda: enrollment.revoke_enrollment_token(actor=actor, token_id=token_id),
        done=_("The token was revoked."),
        back_to=reverse("enrollment_tokens"),
    )
