"""People: listing, adding, changing, deactivating, new passwords. For administrators' sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import django_filters
from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from devops_manager.access import services
from devops_manager.access.actors import actor_of
from devops_manager.access.api.serializers import (
    NewPersonSerializer,
    PersonChangeSerializer,
    PersonSerializer,
    PersonWithPasswordSerializer,
    ResetPasswordSerializer,
    TokensSerializer,
)
from devops_manager.access.door import Guarded
from devops_manager.access.models import Role, User
from devops_manager.access.permissions import ADMINS
from devops_manager.access.person_change import NewPassword, PersonChange
from devops_manager.access.selectors import listed_people, named_like, person_of
from devops_manager.lib.compression import keep_plain
from devops_manager.lib.filters import StrictFilterBackend, refuse_unknown

if TYPE_CHECKING:
    from django.db.models import QuerySet
    from rest_framework.request import Request


class PeopleFilter(django_filters.FilterSet):
    """Which people to list; all of it together."""

    username = django_filters.CharFilter(lookup_expr="exact")
    search = django_filters.CharFilter(method="filter_search", label="Part of a name or address")
    role = django_filters.ChoiceFilter(choices=Role.choices)
    is_active = django_filters.BooleanFilter()

    def filter_search(self, people: QuerySet[User], _name: str, text: str) -> QuerySet[User]:
        """Narrow to those whose name or address holds the text."""
        return people.filter(named_like(text))


@extend_schema(tags=["people"])
class PeopleViewSet(mixins.ListModelMixin, Guarded, GenericViewSet[User]):
    """People who sign in. Nobody is deleted: what they did stays theirs."""

    permissions: ClassVar[dict[str, frozenset[Role]]] = {
        "list": ADMINS,
        "create": ADMINS,
        "retrieve": ADMINS,
        "partial_update": ADMINS,
        "deactivate": ADMINS,
        "reactivate": ADMINS,
        "reset_password": ADMINS,
    }
    bodies = frozenset({"create", "partial_update", "deactivate", "reset_password"})
    secret = frozenset({"create", "reset_password"})
    queryset = listed_people()
    serializer_class = PersonSerializer
    filter_backends = [StrictFilterBackend]
    filterset_class = PeopleFilter
    lookup_url_kwarg = "person_id"
    lookup_value_converter = "int"

    @extend_schema(
        request=NewPersonSerializer, responses={201: PersonWithPasswordSerializer}, filters=False
    )
    def create(self, request: Request) -> Response:
        """Add a person; a generated password is in this answer alone."""
        body = NewPersonSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        values: dict[str, Any] = dict(body.validated_data)
        made = services.create_person(
            actor=actor_of(request),
            username=values.pop("username"),
            password=values.pop("password", None),
            change=PersonChange(**values),
        )
        return _with_password(made, status=status.HTTP_201_CREATED)

    def retrieve(self, request: Request, person_id: int) -> Response:
        """Return one person."""
        refuse_unknown(request, ())
        return _answer(person_id)

    @extend_schema(request=PersonChangeSerializer)
    def partial_update(self, request: Request, person_id: int) -> Response:
        """Change a person's role, language, names or address."""
        body = PersonChangeSerializer(data=request.data, partial=True)
        body.is_valid(raise_exception=True)
        services.update_person(
            actor=actor_of(request), person_id=person_id, change=PersonChange(**body.validated_data)
        )
        return _answer(person_id)

    @extend_schema(request=TokensSerializer)
    @action(detail=True, methods=["post"])
    def deactivate(self, request: Request, person_id: int) -> Response:
        """End a person's sessions, and refuse their sign-in and tokens."""
        body = TokensSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        services.deactivate_person(
            actor=actor_of(request), person_id=person_id, **body.validated_data
        )
        return _answer(person_id)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def reactivate(self, request: Request, person_id: int) -> Response:
        """Let a person sign in again."""
        services.reactivate_person(actor=actor_of(request), person_id=person_id)
        return _answer(person_id)

    @extend_schema(request=ResetPasswordSerializer, responses=PersonWithPasswordSerializer)
    @action(detail=True, methods=["post"], url_path="reset-password")
    def reset_password(self, request: Request, person_id: int) -> Response:
        """Give a person a new password; a generated one is in this answer alone."""
        body = ResetPasswordSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        made = services.reset_password(
            actor=actor_of(request), person_id=person_id, **body.validated_data
        )
        return _with_password(made)


def _answer(person_id: int) -> Response:
    return Response(PersonSerializer(person_of(person_id)).data)


def _with_password(made: NewPassword, *, status: int = 200) -> Response:
    person = PersonSerializer(person_of(made.person.pk)).data
    return keep_plain(Response({**person, "password": made.generated}, status=status))
