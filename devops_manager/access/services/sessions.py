"""Sessions of people that sign in through the API."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.contrib import auth
from django.db import transaction
from django.utils.translation import gettext as _

from devops_manager.access import audit
from devops_manager.access.actors import actor_of
from devops_manager.access.models import User
from devops_manager.lib.errors import Unauthenticated

if TYPE_CHECKING:
    from django.http import HttpRequest


def sign_in(*, request: HttpRequest, username: str, password: str) -> User:
    """Begin a session. django-axes counts the failures and locks out for a while.

    Raises Unauthenticated without saying whether the name or the password was wrong.
    """
    # Outside the transaction: a failure that axes counted must not be rolled back by the error.
    user = auth.authenticate(request, username=username, password=password)
    if not isinstance(user, User):
        raise Unauthenticated(_("The name or the password is wrong."))
    with transaction.atomic():
        auth.login(request, user)
        audit.record(
            actor=actor_of(request),
            action="user.sign_in",
            object_type="user",
            object_ids=[str(user.pk)],
        )
    return user


@transaction.atomic
def sign_out(*, request: HttpRequest) -> None:
    """End the session, if there is one."""
    if isinstance(request.user, User):
        audit.record(
            actor=actor_of(request),
            action="user.sign_out",
            object_type="user",
            object_ids=[str(request.user.pk)],
        )
    auth.logout(request)
