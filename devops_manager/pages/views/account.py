"""Signing in and out, the password, the language."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib import auth, messages
from django.contrib.auth import views as auth_views
from django.db import transaction
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse_lazy
from django.utils import translation
from django.utils.translation import check_for_language, ngettext
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST
from django.views.i18n import set_language as django_set_language

from devops_manager.access import audit, services
from devops_manager.access.actors import actor_of
from devops_manager.access.models import User
from devops_manager.access.services.languages import choose_language
from devops_manager.access.sign_in_limits import note_wrong_password, refuse_if_locked
from devops_manager.pages.forms.password import KEEP_TOKENS
from devops_manager.pages.forms.people import OwnPasswordForm
from devops_manager.pages.gate import language_of
from devops_manager.pages.kept import give_back, unpack

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


class SignIn(auth_views.LoginView):
    """The sign-in page; afterwards pages are in the language that the person chose last."""

    template_name = "registration/login.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        """Keep what was written before, through wrong passwords."""
        return super().get_context_data(kept=self.request.POST.get("kept", ""), **kwargs)

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
        kept = unpack(self.request.POST.get("kept", ""))
        response = (
            give_back(self.request, kept, status=200) if kept else redirect(self.get_success_url())
        )
        if user.language and check_for_language(user.language):
            _keep_language(response, user.language)
        return response


class ChangePassword(auth_views.PasswordChangeView):
    """The page to change one's own password; other sessions of the person end."""

    template_name = "pages/password_change.html"
    form_class = OwnPasswordForm
    success_url = reverse_lazy("overview")

    def dispatch(self, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Serve in the person's language."""
        translation.activate(language_of(self.request, self.request.user))
        return super().dispatch(*args, **kwargs)

    def post(self, *args: Any, **kwargs: Any) -> HttpResponse:
        """Look at the old password as long as the limits of signing in allow it."""
        request = self.request
        if refuse_if_locked(request, request.user.get_username()):
            return HttpResponse(status=429)  # AxesMiddleware puts the answer in its place
        return super().post(*args, **kwargs)

    def form_invalid(self, form: PasswordChangeForm) -> HttpResponse:
        """Count a wrong old password: whoever found an open session may not guess for ever."""
        if form.has_error("old_password", "password_incorrect"):
            note_wrong_password(self.request, self.request.user.get_username())
        return super().form_invalid(form)

    def form_valid(self, form: PasswordChangeForm) -> HttpResponse:
        """Change it, and say so here and in the audit trail; tokens end unless they are kept."""
        form.user.must_change_password = False
        actor, revoked = actor_of(self.request), 0
        with transaction.atomic():
            response = super().form_valid(form)
            if form.cleaned_data["tokens"] != KEEP_TOKENS:
                revoked = services.revoke_tokens_of(actor=actor, user=form.user)
            audit.record(
                actor=actor,
                action="user.change_password",
                object_type="user",
                object_ids=[str(self.request.user.pk)],
                after={"revoked_tokens": revoked},
            )
        done = [_("The password was changed.")]
        if revoked:
            done.append(
                ngettext(
                    "%(count)d API token was revoked.",
                    "%(count)d API tokens were revoked.",
                    revoked,
                )
                % {"count": revoked}
            )
        messages.success(self.request, " ".join(done))
        return response


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    services.sign_out(request=request)
    return redirect(settings.LOGOUT_REDIRECT_URL)


@require_POST
def set_language(request: HttpRequest) -> HttpResponse:
    """Change the language of the pages, and remember it for those who are signed in."""
    language = request.POST.get("language", "")
    response = django_set_language(request)
    if request.user.is_authenticated and check_for_language(language):
        choose_language(actor=actor_of(request), language=language)
    return response
