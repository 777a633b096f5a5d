"""Signing in and out, the password, the language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib import auth, messages
from django.contrib.auth import views as auth_views
from django.db import transaction
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import SimpleTemplateResponse
from django.urls import reverse_lazy
from django.utils import translation
from django.utils.translation import check_for_language
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST
from django.views.i18n import set_language as django_set_language

from devops_manager.access import audit, services
from devops_manager.access.actors import actor_of
from devops_manager.access.models import User
from devops_manager.access.services.languages import choose_language
from devops_manager.pages.forms.people import OwnPasswordForm
from devops_manager.pages.gate import guarded, language_of

if TYPE_CHECKING:
    from django.contrib.auth.forms import AuthenticationForm, PasswordChangeForm
    from django.http import HttpRequest


def _keep_language(response: HttpResponse, language: str) -> None:
    response.set_cookie(
        settings.LANGUAGE_COOKIE_NAME,
        language,
        max_age=31_536_000,
        path=settings.LANGUAGE_COOKIE_PATH,
        secure=settings.DM_TLS,
        samesite="Lax",
    )


def _finished(response: HttpResponseBase) -> HttpResponse:
    if isinstance(response, SimpleTemplateResponse):
        response.render()
    assert isinstance(response, HttpResponse)
    return guarded(response)


class SignIn(auth_views.LoginView):
    """The sign-in page; afterwards pages are in the language that the person chose last."""

    template_name = "registration/login.html"

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Serve, under the pages' content policy."""
        return _finished(super().dispatch(request, *args, **kwargs))

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        """Begin the session, and write it to the audit trail."""
        user = form.get_user()
        assert isinstance(user, User)
        with transaction.atomic():
            auth.login(self.request, user)
            audit.record(
                actor=actor_of(self.request),
                action="user.sign_in",
                object_type="user",
                object_ids=[str(user.pk)],
            )
        response = redirect(self.get_success_url())
        if user.language and check_for_language(user.language):
            _keep_language(response, user.language)
        return response


class ChangePassword(auth_views.PasswordChangeView):
    """The page to change one's own password; other sessions of the person end."""

    template_name = "pages/password_change.html"
    form_class = OwnPasswordForm
    success_url = reverse_lazy("overview")

    def dispatch(self, *args: Any, **kwargs: Any) -> HttpResponse:
        """Serve, in the person's language and under the pages' content policy."""
        translation.activate(language_of(self.request, self.request.user))
        return _finished(super().dispatch(*args, **kwargs))

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        """Change it, and say so here and in the audit trail."""
        form.user.must_change_password = False
        with transaction.atomic():
            response = super().form_valid(form)
            audit.record(
                actor=actor_of(self.request),
                action="user.change_password",
                object_type="user",
                object_ids=[str(self.request.user.pk)],
            )
        messages.success(self.request, _("The password was changed."))
        return response


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    services.sign_out(request=request)
    return guarded(redirect(settings.LOGOUT_REDIRECT_URL))


@require_POST
def set_language(request: HttpRequest) -> HttpResponse:
    """Change the language of the pages, and remember it for those who are signed in."""
    language = request.POST.get("language", "")
    response = django_set_language(request)
    if request.user.is_authenticated and check_for_language(language):
        choose_language(actor=actor_of(request), language=language)
    return response
