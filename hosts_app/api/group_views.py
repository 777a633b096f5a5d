"""Groups of hosts, their members, and who may run tasks on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework import mixins, status
from rest_framework.decorators import action
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from devops_manager.access.actors import actor_of
from devops_manager.access.door import Guarded
from devops_manager.access.models import Role
from devops_manager.access.permissions import ADMINS, READERS
from devops_manager.lib.filters import StrictFilterBackend, refuse_unknown
from devops_manager.lib.pagination import envelope, parse_page, refuse_beyond_end
from devops_manager.lib.versions import etag, expected_version
from hosts_app import selectors, services
from hosts_app.api import serializers
from hosts_app.api.filters import GroupFilter
from hosts_app.api.schema import PAGE_PARAMETERS, paged
from hosts_app.models import HostGroup

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from rest_framework.request import Request


@extend_schema(tags=["groups"])
class GroupViewSet(mixins.ListModelMixin, Guarded, GenericViewSet[HostGroup]):
    """Named sets of hosts, as tasks target them and operators are granted them."""

    permissions: ClassVar[dict[str, frozenset[Role]]] = {
        "list": READERS,
        "retrieve": READERS,
        "create": ADMINS,
        "partial_update": ADMINS,
        "destroy": ADMINS,
        "add_hosts": ADMINS,
        "remove_hosts": ADMINS,
        "grants": ADMINS,
        "grant": ADMINS,
        "revoke_grant": ADMINS,
    }
    bodies = frozenset(
        {"create", "partial_update", "add_hosts", "remove_hosts", "grant", "revoke_grant"}
    )
    conditional = frozenset({"partial_update", "destroy"})
    queryset = selectors.listed_groups()
    serializer_class = serializers.GroupSerializer
    filter_backends = [StrictFilterBackend]
    filterset_class = GroupFilter
    lookup_field = "group_id"
    lookup_value_converter = "uuid"

    def retrieve(self, request: Request, group_id: UUID) -> Response:
        """Return one group."""
        refuse_unknown(request, (), paged=False)
        return _answer(group_id)

    def create(self, request: Request) -> Response:
        """Make a group."""
        body = serializers.GroupSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        group = services.create_group(actor=actor_of(request), **body.validated_data)
        return _answer(group.group_id, status=status.HTTP_201_CREATED)

    def partial_update(self, request: Request, group_id: UUID) -> Response:
        """Change a group's name or description."""
        body = serializers.GroupSerializer(data=request.data, partial=True)
        body.is_valid(raise_exception=True)
        services.update_group(
            actor=actor_of(request),
            group_id=group_id,
            expected=expected_version(request.headers),
            **body.validated_data,
        )
        return _answer(group_id)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, group_id: UUID) -> Response:
        """Delete a group; its hosts stay."""
        expected = expected_version(request.headers)
        services.delete_group(actor=actor_of(request), group_id=group_id, expected=expected)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=serializers.HostIdsSerializer, responses=serializers.CountSerializer)
    @action(detail=True, methods=["post"], url_path="add-hosts")
    def add_hosts(self, request: Request, group_id: UUID) -> Response:
        """Put hosts into the group; those that are in it already stay."""
        return _move_hosts(services.add_hosts, request, group_id)

    @extend_schema(request=serializers.HostIdsSerializer, responses=serializers.CountSerializer)
    @action(detail=True, methods=["post"], url_path="remove-hosts")
    def remove_hosts(self, request: Request, group_id: UUID) -> Response:
        """Take hosts out of the group."""
        return _move_hosts(services.remove_hosts, request, group_id)

    @extend_schema(
        operation_id="host_groups_grants_list",
        parameters=PAGE_PARAMETERS,
        responses=paged("Grants", serializers.GrantSerializer),
        filters=False,
    )
    @action(detail=True, methods=["get"])
    def grants(self, request: Request, group_id: UUID) -> Response:
        """List the operators who may run tasks on the group's hosts."""
        refuse_unknown(request, ())
        page = parse_page(request.query_params)
        granted = selectors.group_grants(selectors.group_of(group_id))
        count = granted.count()
        refuse_beyond_end(page, count)
        rows = granted[page.offset : page.offset + page.size]
        shown = serializers.GrantSerializer(rows, many=True).data
        return Response(envelope(count=count, page=page, results=list(shown)))

    @extend_schema(request=serializers.GrantSerializer, responses={204: None})
    @action(detail=True, methods=["post"])
    def grant(self, request: Request, group_id: UUID) -> Response:
        """Let an operator run tasks on the group's hosts."""
        username = _username(request)
        services.grant_group(actor=actor_of(request), group_id=group_id, username=username)
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(request=serializers.GrantSerializer, responses={204: None})
    @action(detail=True, methods=["post"], url_path="revoke-grant")
    def revoke_grant(self, request: Request, group_id: UUID) -> Response:
        """Take the grant of an operator back."""
        username = _username(request)
        services.revoke_grant(actor=actor_of(request), group_id=group_id, username=username)
        return Response(status=status.HTTP_204_NO_CONTENT)


def _answer(group_id: UUID, *, status: int = 200) -> Response:
    group = selectors.group_of(group_id)
    shown = serializers.GroupSerializer(group).data
    return Response(shown, status=status, headers=etag(selectors.group_version(group)))


def _username(request: Request) -> str:
    body = serializers.GrantSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    username: str = body.validated_data["username"]
    return username


def _move_hosts(service: Callable[..., int], request: Request, group_id: UUID) -> Response:
    body = serializers.HostIdsSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    changed = service(
        actor=actor_of(request), group_id=group_id, host_ids=body.validated_data["hosts"]
    )
    return Response({"changed": changed})
