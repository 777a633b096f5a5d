"""Who may do what: each view says it, by method or action; what is not said is refused.

docs/permissions.md holds the matrix; a test walks every address against it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.utils.translation import gettext as _
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.permissions import BasePermission

from devops_manager.access.actors import actor_of
from devops_manager.access.models import ApiToken, AuditEvent, Role, User
from devops_manager.lib.errors import Forbidden

if TYPE_CHECKING:
    from django.http import HttpRequest
    from rest_framework.request import Request
    from rest_framework.views import APIView

    from devops_manager.access.actors import Actor

READERS = frozenset({Role.VIEWER, Role.OPERATOR, Role.APPROVER, Role.ADMIN})
OPERATORS = frozenset({Role.OPERATOR, Role.ADMIN})
APPROVERS = frozenset({Role.APPROVER, Role.ADMIN})
ADMINS = frozenset({Role.ADMIN})


def require_token_management(actor: Actor) -> None:
    """Raise Forbidden ``session_required`` for a token that was not made for managing tokens.

    A token that is stolen must end with its expiry: it can neither make itself a successor nor
    look for others.
    """
    if actor.kind == AuditEvent.ActorKind.TOKEN and not actor.manages_tokens:
        raise Forbidden(
            _("Tokens are managed by people who signed in, and by tokens made for it."),
            code="session_required",
        )


class RolePermission(BasePermission):
    """Lets a role through when the view's ``permissions`` names it for this action or method.

    A view declares ``permissions: ClassVar[dict[str, frozenset[Role]]]``, keyed by action for view
    sets (``list``, ``create``, ``approve``…) and by method for views (``get``, ``post``…). A
    session whose person must change the password first gets nowhere, unless the view says
    ``before_password_change``.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Tell whether the caller may; raises MethodNotAllowed for what the view does not have."""
        if not isinstance(request.user, User) or not request.user.is_active:
            return False
        method = (request.method or "").lower()
        if method != "options" and not hasattr(view, method):
            raise MethodNotAllowed(request.method or "")
        if not getattr(view, "before_password_change", False):
            require_own_password(request)
        declared: dict[str, frozenset[Role]] = getattr(view, "permissions", {})
        return actor_of(request).role in declared.get(act_of(request, view), frozenset())


def act_of(request: Request, view: APIView) -> str:
    """Return the name under which views declare this act: the action, or else the method."""
    method = (request.method or "").lower()
    return getattr(view, "action", None) or ("get" if method == "head" else method)


def require_own_password(request: Request | HttpRequest) -> None:
    """Raise Forbidden for the session of a person whose password somebody else knows."""
    user = request.user
    by_token = isinstance(getattr(request, "auth", None), ApiToken)
    if isinstance(user, User) and user.must_change_password and not by_token:
        raise Forbidden(
            _("Change the password first: somebody else knows it."), code="password_change_required"
        )
