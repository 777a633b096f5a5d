"""Hosts, those that wait for approval, tags, and what a target comes to."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import mixins
from rest_framework.decorators import action
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from devops_manager.access.actors import actor_of
from devops_manager.access.door import Guarded
from devops_manager.access.models import Role
from devops_manager.access.permissions import ADMINS, APPROVERS, OPERATORS, READERS
from devops_manager.lib.errors import NotFound
from devops_manager.lib.filters import StrictFilterBackend, refuse_unknown
from devops_manager.lib.pagination import envelope, parse_page, refuse_beyond_end
from devops_manager.lib.versions import etag, expected_version
from hosts_app import selectors, services
from hosts_app.api import serializers
from hosts_app.api.filters import HostFilter
from hosts_app.api.schema import PAGE_PARAMETERS, paged
from hosts_app.models import Host
from hosts_app.records import HostChange
from hosts_app.states import HostStatus
from hosts_app.targets import parse_pins, parse_target

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from rest_framework.request import Request


@extend_schema(tags=["hosts"])
class HostViewSet(mixins.ListModelMixin, Guarded, GenericViewSet[Host]):
    """The managed machines."""

    permissions: ClassVar[dict[str, frozenset[Role]]] = {
        "list": READERS,
        "retrieve": READERS,
        "partial_update": ADMINS,
        "destroy": ADMINS,
        "unretire": ADMINS,
        "replace": ADMINS,
        "disable": ADMINS,
        "enable": ADMINS,
        "release": ADMINS,
        "revoke_credential": ADMINS,
    }
    bodies = frozenset({"partial_update", "replace"})
    conditional = frozenset({"partial_update"})
    queryset = selectors.listed_hosts()
    serializer_class = serializers.HostSerializer
    filter_backends = [StrictFilterBackend]
    filterset_class = HostFilter
    lookup_field = "host_id"
    lookup_value_converter = "uuid"

    @extend_schema(responses=serializers.HostDetailSerializer)
    def retrieve(self, request: Request, host_id: UUID) -> Response:
        """Return one host."""
        refuse_unknown(request, (), paged=False)
        return _answer(host_id)

    @extend_schema(
        request=serializers.HostChangeSerializer, responses=serializers.HostDetailSerializer
    )
    def partial_update(self, request: Request, host_id: UUID) -> Response:
        """Change tags, groups, the limit of commands, the name shown or the charset of output."""
        body = serializers.HostChangeSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        tags, groups = body.validated_data.get("tags"), body.validated_data.get("groups")
        change = HostChange(
            tags=None if tags is None else tuple(tags),
            groups=None if groups is None else tuple(groups),
            max_concurrency=body.validated_data.get("max_concurrency"),
            display_name=body.validated_data.get("display_name"),
            output_charset=body.validated_data.get("output_charset"),
        )
        services.update_host(
            actor=actor_of(request),
            host_id=host_id,
            change=change,
            expected=expected_version(request.headers),
        )
        return _answer(host_id)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, host_id: UUID) -> Response:
        """Retire the host: its history stays; no target and no list has it unasked."""
        refuse_unknown(request, ())
        services.retire_host(actor=actor_of(request), host_id=host_id)
        return Response(status=204)

    @extend_schema(request=None, responses=serializers.HostDetailSerializer)
    @action(detail=True, methods=["post"])
    def unretire(self, request: Request, host_id: UUID) -> Response:
        """Bring a retired host back to where it was."""
        return _act(services.unretire_host, request, host_id)

    @extend_schema(
        request=serializers.ReplaceSerializer, responses=serializers.HostDetailSerializer
    )
    @action(detail=True, methods=["post"])
    def replace(self, request: Request, host_id: UUID) -> Response:
        """Take the place of an older record of the same machine, which is retired."""
        body = serializers.ReplaceSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        services.replace_host(
            actor=actor_of(request), host_id=host_id, replaced_id=body.validated_data["replaces"]
        )
        return _answer(host_id)

    @extend_schema(request=None, responses=serializers.HostDetailSerializer)
    @action(detail=True, methods=["post"])
    def disable(self, request: Request, host_id: UUID) -> Response:
        """Give the host no more work."""
        return _act(services.disable_host, request, host_id)

    @extend_schema(request=None, responses=serializers.HostDetailSerializer)
    @action(detail=True, methods=["post"])
    def enable(self, request: Request, host_id: UUID) -> Response:
        """Let a disabled or rejected host work."""
        return _act(services.enable_host, request, host_id)

    @extend_schema(request=None, responses=serializers.HostDetailSerializer)
    @action(detail=True, methods=["post"])
    def release(self, request: Request, host_id: UUID) -> Response:
        """End the host's quarantine."""
        return _act(services.release_quarantine, request, host_id)

    @extend_schema(request=None, responses=serializers.HostDetailSerializer)
    @action(detail=True, methods=["post"], url_path="revoke-credential")
    def revoke_credential(self, request: Request, host_id: UUID) -> Response:
        """Refuse the agent's credential from now on; it must be enrolled again."""
        return _act(services.revoke_credential, request, host_id)


@extend_schema(tags=["hosts"])
class PendingHostViewSet(mixins.ListModelMixin, Guarded, GenericViewSet[Host]):
    """Hosts that wait for approval."""

    permissions: ClassVar[dict[str, frozenset[Role]]] = {
        "list": READERS,
        "approve": APPROVERS,
        "reject": APPROVERS,
        "approve_many": APPROVERS,
        "reject_many": APPROVERS,
    }
    bodies = frozenset({"approve_many", "reject_many"})
    queryset = selectors.listed_hosts().filter(status=HostStatus.PENDING)
    serializer_class = serializers.HostSerializer
    filter_backends = [StrictFilterBackend]
    lookup_field = "host_id"
    lookup_value_converter = "uuid"

    @extend_schema(request=None, responses=serializers.HostDetailSerializer)
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, host_id: UUID) -> Response:
        """Let one host in."""
        services.approve_hosts(actor=actor_of(request), host_ids=[host_id])
        return _answer(host_id)

    @extend_schema(request=None, responses=serializers.HostDetailSerializer)
    @action(detail=True, methods=["post"])
    def reject(self, request: Request, host_id: UUID) -> Response:
        """Send one host away; enabling it later lets it in after all."""
        services.reject_hosts(actor=actor_of(request), host_ids=[host_id])
        return _answer(host_id)

    @extend_schema(
        operation_id="pending_hosts_approve_many",
        request=serializers.HostIdsSerializer,
        responses=serializers.CountSerializer,
    )
    @action(detail=False, methods=["post"], url_path="approve", url_name="approve-many")
    def approve_many(self, request: Request) -> Response:
        """Let many hosts in: all of them or none."""
        return _decide_many(services.approve_hosts, request)

    @extend_schema(
        operation_id="pending_hosts_reject_many",
        request=serializers.HostIdsSerializer,
        responses=serializers.CountSerializer,
    )
    @action(detail=False, methods=["post"], url_path="reject", url_name="reject-many")
    def reject_many(self, request: Request) -> Response:
        """Send many hosts away: all of them or none."""
        return _decide_many(services.reject_hosts, request)


class HostTagsView(Guarded):
    """The tags that hosts have."""

    permissions: ClassVar[dict[str, frozenset[Role]]] = {"get": READERS}

    @extend_schema(
        operation_id="host_tags_list",
        parameters=[
            *PAGE_PARAMETERS,
            OpenApiParameter("contains", str, description="Only tags that contain this text."),
        ],
        responses=paged("Tags", serializers.TagSerializer),
        tags=["hosts"],
    )
    def get(self, request: Request) -> Response:
        """List the distinct tags of hosts that are not disabled, with counts."""
        refuse_unknown(request, ("contains",))
        page = parse_page(request.query_params)
        contains = request.query_params.get("contains", "")
        tags = selectors.count_tags(contains=contains)
        refuse_beyond_end(page, len(tags))
        part = tags[page.offset : page.offset + page.size]
        shown = serializers.TagSerializer(part, many=True).data
        return Response(envelope(count=len(tags), page=page, results=list(shown)))


class TargetPreviewView(Guarded):
    """What a target comes to, for the one who asks."""

    permissions: ClassVar[dict[str, frozenset[Role]]] = {"post": OPERATORS}
    bodies = queries = frozenset({"post"})

    @extend_schema(
        operation_id="targets_preview",
        parameters=PAGE_PARAMETERS,
        request=serializers.PreviewBodySerializer,
        responses=paged(
            "PreviewedHosts",
            serializers.HostSerializer,
            steps=serializers.StepHostsSerializer(many=True),
            pinned_only=serializers.PinnedHostSerializer(many=True),
        ),
        tags=["hosts"],
    )
    def post(self, request: Request) -> Response:
        """Resolve a target and lay steps out over its hosts; nothing is stored, nothing starts."""
        refuse_unknown(request, ())
        page = parse_page(request.query_params)
        body = serializers.PreviewSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        preview = selectors.preview_plan(
            target=parse_target(body.validated_data["target"]),
            pins=parse_pins(body.validated_data.get("commands") or [{}]),
            allowed_groups=selectors.allowed_group_ids(actor_of(request)),
        )
        keys = preview.plan.hosts
        refuse_beyond_end(page, len(keys))
        hosts = selectors.hosts_by_keys(keys[page.offset : page.offset + page.size])
        shown = serializers.HostSerializer(hosts, many=True).data
        return Response(
            {
                **envelope(count=len(keys), page=page, results=list(shown)),
                "steps": [
                    {"position": at, "host": pin, "hosts": count}
                    for at, (pin, count) in enumerate(
                        zip(preview.pins, preview.plan.step_hosts, strict=True), start=1
                    )
                ],
                "pinned_only": [
                    {"host_id": host.host_id, "hostname": host.hostname}
                    for host in preview.pinned_only
                ],
            }
        )


def _answer(host_id: UUID) -> Response:
    host = selectors.listed_hosts().filter(host_id=host_id).first()
    if host is None:
        raise NotFound(_("There is no such host."))
    shown = serializers.HostDetailSerializer(host).data
    return Response(shown, headers=etag(selectors.host_version(host)))


def _act(service: Callable[..., Host], request: Request, host_id: UUID) -> Response:
    service(actor=actor_of(request), host_id=host_id)
    return _answer(host_id)


def _decide_many(service: Callable[..., list[Host]], request: Request) -> Response:
    body = serializers.HostIdsSerializer(data=request.data)
    body.is_valid(raise_exception=True)
    hosts = service(actor=actor_of(request), host_ids=body.validated_data["hosts"])
    return Response({"changed": len(hosts)})
