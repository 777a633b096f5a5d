"""Tokens for scripts that use the API. The secret is shown once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from devops_manager.access import services
from devops_manager.access.models import Role
from devops_manager.access.selectors import visible_tokens
from devops_manager.lib.compression import keep_plain
from devops_manager.lib.errors import DomainError
from devops_manager.pages.forms.tokens import ApiTokenForm
from devops_manager.pages.gate import act, page, sentences, show
from devops_manager.pages.listing import list_rows
from devops_manager.pages.live import OTHERWISE

if TYPE_CHECKING:
    from uuid import UUID

    from django import forms
    from django.http import HttpRequest, HttpResponse

    from devops_manager.access.actors import Actor


def refuse(form: forms.Form, error: DomainError) -> None:
    """Put what a service refused beside the form's fields."""
    for name, texts in error.fields.items():
        shown = {"expires_at": "expires"}.get(name, name)
        for text in texts:
            form.add_error(shown if shown in form.fields else None, str(text))
    if not sentences(error.fields.values()):
        form.add_error(None, str(error.detail))


@page("GET", "HEAD", "POST")
def api_tokens(request: HttpRequest, actor: Actor) -> HttpResponse:
    """List the person's tokens (administrators see everybody's), and make one."""
    status = 200
    context: dict[str, object] = {}
    form = ApiTokenForm(request.POST or None, role=actor.role)
    if request.method == "POST":
        status = 400
        if form.is_valid():
            try:
                token, secret = services.create_token(
                    actor=actor,
                    name=form.cleaned_data["name"],
                    role=Role(form.cleaned_data["role"]),
                    expires_at=form.expires_at(),
                    manages_tokens=form.cleaned_data["manages_tokens"],
                )
            except DomainError as error:
                refuse(form, error)
            else:
                status = 201
                context = {"token": token, "secret": secret}
                form = ApiTokenForm(role=actor.role)
    context |= {
        "section": "tokens",
        "every": OTHERWISE,
        "form": form,
        "now": timezone.now(),
        "listing": list_rows(visible_tokens(actor), request.GET),
    }
    response = show(request, "pages/api_tokens.html", context, status=status)
    return keep_plain(response) if "secret" in context else response


@page("POST")
def api_token_revoke(request: HttpRequest, actor: Actor, token_id: UUID) -> HttpResponse:
    """Revoke a token."""
    return act(
        request,
        lambda: services.revoke_token(actor=actor, token_id=token_id),
        done=_("The token was revoked."),
        back_to=reverse("api_tokens"),
    )
