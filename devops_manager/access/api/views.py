"""Who am I, signing in and out, tokens, the audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

import django_filters
from django.middleware.csrf import get_token
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from devops_manager.access import services
from devops_manager.access.actors import actor_of
from devops_manager.access.api.serializers import (
    AuditEventSerializer,
    LoginSerializer,
    MeSerializer,
    NewTokenSerializer,
    TokenSerializer,
)
from devops_manager.access.door import Guarded
from devops_manager.access.models import ApiToken, AuditEvent, Role, User
from devops_manager.access.permissions import ADMINS, READERS
from devops_manager.access.selectors import acts_of, audit_events, visible_tokens
from devops_manager.lib.compression import keep_plain
from devops_manager.lib.filters import (
    AnyOfFilter,
    MomentFilter,
    StrictFilterBackend,
    refuse_unknown,
)
from devops_manager.lib.pagination import CappedPagination
from devops_manager.lib.parsers import SmallJSONParser

if TYPE_CHECKING:
    from uuid import UUID

    from django.db.models import QuerySet
    from django.http import HttpRequest
    from rest_framework.request import Request


def _me(request: Request | HttpRequest) -> dict[str, Any]:
    actor = actor_of(request)
    user = cast("User", request.user)
    token = getattr(request, "auth", None)
    return {
        "username": user.username,
        "kind": actor.kind,
        "role": actor.role,
        "language": user.language,
        "token": token.prefix if isinstance(token, ApiToken) else None,
    }


class MeView(Guarded):
    """Who asks."""

    permissions: ClassVar[dict[str, frozenset[Role]]] = {"get": READERS}

    @extend_schema(operation_id="me", responses=MeSerializer, tags=["auth"])
    def get(self, request: Request) -> Response:
        """Return who asks, and with what rights."""
        refuse_unknown(request, (), paged=False)
        return Response(MeSerializer(_me(request)).data)


class LoginView(Guarded):
    """Signing in, open to anyone.

    Without a session there is nothing that a forged request could use, and a page of another site
    cannot send JSON here; so no CSRF token is asked for.
    """

    authentication_classes = []
    permission_classes = [AllowAny]
    bodies = keyless = frozenset({"post"})
    parser_classes = [SmallJSONParser]

    @extend_schema(
        operation_id="login", request=LoginSerializer, responses=MeSerializer, tags=["auth"]
    )
    def post(self, request: Request) -> Response:
        """Begin a session: sets the session cookie and the CSRF cookie."""
        body = LoginSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        django_request = request._request
        services.sign_in(request=django_request, **body.validated_data)
        get_token(django_request)
        return Response(MeSerializer(_me(django_request)).data)


class LogoutView(Guarded):
    """Signing out."""

    keyless = frozenset({"post"})
    before_password_change = True
    permissions: ClassVar[dict[str, frozenset[Role]]] = {"post": READERS}

    @extend_schema(operation_id="logout", request=None, responses={204: None}, tags=["auth"])
    def post(self, request: Request) -> Response:
        """End the session. A token is not a session: it stays as it is."""
        if not isinstance(request.auth, ApiToken):
            services.sign_out(request=request._request)
        return Response(status=status.HTTP_204_NO_CONTENT)


@extend_schema(tags=["tokens"])
class TokenViewSet(mixins.ListModelMixin, Guarded, GenericViewSet[ApiToken]):
    """Tokens of scripts: one's own, everybody's for administrators.

    For people who signed in, and tokens with ``manages_tokens``; others get 403
    ``session_required``.
    """

    permissions: ClassVar[dict[str, frozenset[Role]]] = {
        "list": READERS,
        "create": READERS,
        "destroy": READERS,
    }
    bodies = secret = frozenset({"create"})
    queryset = ApiToken.objects.none()
    serializer_class = TokenSerializer
    filter_backends = [StrictFilterBackend]
    lookup_field = "token_id"
    lookup_value_converter = "uuid"

    def get_queryset(self) -> QuerySet[ApiToken]:
        """Return the tokens that the caller may see."""
        if getattr(self, "swagger_fake_view", False):
            return self.queryset
        return visible_tokens(actor_of(self.request))

    @extend_schema(request=TokenSerializer, responses={201: NewTokenSerializer})
    def create(self, request: Request) -> Response:
        """Make a token of one's own; the answer alone carries its secret.

        What a token makes expires no later than itself, and ends with it.
        """
        body = TokenSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        token, secret = services.create_token(
            actor=actor_of(request),
            name=body.validated_data["name"],
            role=Role(body.validated_data.get("role", Role.VIEWER)),
            expires_at=body.validated_data.get("expires_at"),
            manages_tokens=body.validated_data.get("manages_tokens", False),
        )
        answer = {**TokenSerializer(token).data, "secret": secret}
        return keep_plain(Response(answer, status=status.HTTP_201_CREATED))

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, token_id: UUID) -> Response:
        """Revoke a token and those that it made, at once and for good."""
        services.revoke_token(actor=actor_of(request), token_id=token_id)
        return Response(status=status.HTTP_204_NO_CONTENT)


class AuditFilter(django_filters.FilterSet):
    """What to look for in the audit trail; all of it together."""

    actor = django_filters.CharFilter(
        method="by_actor",
        max_length=200,
        help_text="A user name finds what the person's tokens did, too; or an actor as listed.",
    )
    actor_kind = AnyOfFilter(choices=AuditEvent.ActorKind.choices)
    action = django_filters.CharFilter(lookup_expr="startswith", max_length=64)
    object_type = django_filters.CharFilter(lookup_expr="exact", max_length=32)
    object_id = django_filters.CharFilter(lookup_expr="exact", max_length=64)
    since = MomentFilter("occurred_at", lookup_expr="gte")
    until = MomentFilter("occurred_at", lookup_expr="lt")

    def by_actor(
        self, events: QuerySet[AuditEvent], _name: str, value: str
    ) -> QuerySet[AuditEvent]:
        """Narrow to what one did, whether signed in or by a token."""
        return acts_of(events, value)


@extend_schema(tags=["audit"])
class AuditViewSet(mixins.ListModelMixin, Guarded, GenericViewSet[AuditEvent]):
    """The audit trail, newest first; counting and paging stop at 10,000 events."""

    permissions: ClassVar[dict[str, frozenset[Role]]] = {"list": ADMINS}
    queryset = audit_events()
    serializer_class = AuditEventSerializer
    filter_backends = [StrictFilterBackend]
    filterset_class = AuditFilter
    pagination_class = CappedPagination
