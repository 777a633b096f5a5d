"""Enrolment tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from agents_app.api.serializers import (
    EnrollmentTokenBodySerializer,
    EnrollmentTokenSerializer,
    NewEnrollmentTokenSerializer,
)
from agents_app.models import EnrollmentToken
from agents_app.selectors import listed_enrollment_tokens
from agents_app.services.tokens import create_enrollment_token, revoke_enrollment_token
from devops_manager.access.actors import actor_of
from devops_manager.access.door import Guarded
from devops_manager.access.models import Role
from devops_manager.access.permissions import ADMINS
from devops_manager.lib.compression import keep_plain
from devops_manager.lib.filters import StrictFilterBackend

if TYPE_CHECKING:
    from uuid import UUID

    from rest_framework.request import Request


@extend_schema(tags=["enrollment"])
class EnrollmentTokenViewSet(mixins.ListModelMixin, Guarded, GenericViewSet[EnrollmentToken]):
    """Tokens with which hosts enrol."""

    permissions: ClassVar[dict[str, frozenset[Role]]] = {
        "list": ADMINS,
        "create": ADMINS,
        "destroy": ADMINS,
    }
    bodies = secret = frozenset({"create"})
    queryset = listed_enrollment_tokens()
    serializer_class = EnrollmentTokenSerializer
    filter_backends = [StrictFilterBackend]
    lookup_field = "token_id"
    lookup_value_converter = "uuid"

    @extend_schema(
        request=EnrollmentTokenBodySerializer, responses={201: NewEnrollmentTokenSerializer}
    )
    def create(self, request: Request) -> Response:
        """Make a token; the answer alone carries its secret."""
        body = EnrollmentTokenBodySerializer(data=request.data)
        body.is_valid(raise_exception=True)
        token, secret = create_enrollment_token(actor=actor_of(request), **body.validated_data)
        answer = {**EnrollmentTokenSerializer(token).data, "secret": secret}
        return keep_plain(Response(answer, status=status.HTTP_201_CREATED))

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, token_id: UUID) -> Response:
        """Let nobody enrol with the token any more; hosts that came in with it stay."""
        revoke_enrollment_token(actor=actor_of(request), token_id=token_id)
        return Response(status=status.HTTP_204_NO_CONTENT)
