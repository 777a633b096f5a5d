"""The shapes of bodies and answers about hosts and groups."""

from __future__ import annotations

from typing import Any, ClassVar

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from devops_manager.lib.decoding import CHARSETS
from devops_manager.lib.serializers import (
    NameField,
    StrictCharField,
    StrictIntegerField,
    StrictMixin,
    StrictModelSerializer,
    StrictSerializer,
    StrictUUIDField,
)
from hosts_app.models import Host, HostGroup, HostHeartbeat
from hosts_app.selectors import same_machine
from hosts_app.targets import MAX_HOSTS

_MAX_TAGS = 50
_TAG_LENGTH = 64
_MAX_GROUPS = 100
# Of a preview; how many steps a task may have is a setting, and less.
MAX_STEPS = 1000
# As many hosts as one person can look through; more go by the list, page by page.
_MAX_DECISIONS = 1000


class UniqueListField(serializers.ListField):
    """A list in which nothing stands twice."""

    unique_items = True  # for the description

    default_error_messages: ClassVar = {"twice": _("Stands twice: {value}.")}

    def to_internal_value(self, data: Any) -> list[Any]:
        """Return the entries."""
        # Before the entries are looked at: a body has room for many.
        if self.max_length is not None and isinstance(data, list) and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        entries = super().to_internal_value(data)
        seen: set[Any] = set()
        for entry in entries:
            if entry in seen:
                self.fail("twice", value=entry)
            seen.add(entry)
        return entries


class HeartbeatSerializer(serializers.ModelSerializer[HostHeartbeat]):
    """What a host last said of itself."""

    class Meta:
        model = HostHeartbeat
        fields: ClassVar = [
            "last_seen_at",
            "cpu_percent",
            "memory_percent",
            "load1",
            "disk_percent",
            "running_count",
            "load_at",
            "draining",
            "clock_skew_ms",
            "boot_id",
            "offline_at",
        ]


class HostSerializer(serializers.ModelSerializer[Host]):
    """A host as lists show it. ``heartbeat`` is null where it was never heard."""

    online = serializers.BooleanField()
    draining = serializers.SerializerMethodField()
    groups = serializers.SerializerMethodField()
    heartbeat = serializers.SerializerMethodField()

    class Meta:
        model = Host
        fields: ClassVar = [
            "host_id",
            "hostname",
            "display_name",
            "reported_hostname",
            "ip",
            "os",
            "arch",
            "agent_version",
            "status",
            "online",
            "draining",
            "retired_at",
            "quarantined_at",
            "quarantine_reason",
            "tags",
            "groups",
            "max_concurrency",
            "output_charset",
            "created_at",
            "approved_at",
            "heartbeat",
        ]
        extra_kwargs: ClassVar = {
            "tags": {"help_text": "A list of texts."},
        }

    def get_draining(self, host: Host) -> bool:
        """Tell whether the agent takes no new work; one that was never heard says nothing."""
        heartbeat = getattr(host, "heartbeat", None)
        return heartbeat is not None and heartbeat.draining

    @extend_schema_field(serializers.ListField(child=serializers.CharField()))
    def get_groups(self, host: Host) -> list[str]:
        """Return the names of the host's groups."""
        return [group.name for group in host.groups.all()]

    @extend_schema_field(HeartbeatSerializer(allow_null=True))
    def get_heartbeat(self, host: Host) -> dict[str, Any] | None:
        """Return the heartbeat, or None."""
        heartbeat = getattr(host, "heartbeat", None)
        return None if heartbeat is None else dict(HeartbeatSerializer(heartbeat).data)


class SameMachineSerializer(serializers.ModelSerializer[Host]):
    """Another record of the same machine."""

    online = serializers.BooleanField()

    class Meta:
        model = Host
        fields: ClassVar = ["host_id", "hostname", "ip", "status", "online", "created_at"]


class HostDetailSerializer(HostSerializer):
    """A host with all that its agent told of it."""

    same_machine = serializers.SerializerMethodField()

    class Meta(HostSerializer.Meta):
        fields: ClassVar = [*HostSerializer.Meta.fields, "machine_id", "facts", "same_machine"]

    @extend_schema_field(SameMachineSerializer(many=True))
    def get_same_machine(self, host: Host) -> list[dict[str, Any]]:
        """Return the other records of the host's machine that are not retired."""
        return list(SameMachineSerializer(same_machine(host), many=True).data)


class HostChangeSerializer(StrictSerializer):
    """What may be changed of a host; what is left out stays. Lists replace the old ones."""

    tags = UniqueListField(
        child=NameField(max_length=_TAG_LENGTH), max_length=_MAX_TAGS, required=False
    )
    groups = UniqueListField(
        child=StrictCharField(max_length=128), max_length=_MAX_GROUPS, required=False
    )
    max_concurrency = StrictIntegerField(min_value=1, max_value=1000, required=False)
    display_name = StrictCharField(
        max_length=253,
        required=False,
        allow_blank=True,
        help_text="Shown in place of the host's own name; empty: its own again.",
    )
    output_charset = StrictCharField(
        max_length=40,
        required=False,
        allow_blank=True,
        help_text=f"In which its output is read by default: one of {', '.join(CHARSETS)}, "
        "or another name of one; empty: utf-8.",
    )


class ReplaceSerializer(StrictSerializer):
    """Which older record of its machine a host takes the place of."""

    replaces = StrictUUIDField()


class HostIdsSerializer(StrictSerializer):
    """Hosts by their ids."""

    hosts = UniqueListField(child=StrictUUIDField(), min_length=1, max_length=_MAX_DECISIONS)


class GroupSerializer(StrictModelSerializer):
    """A group of hosts."""

    # Uniqueness is the database's word, and answered as a conflict.
    name = NameField(max_length=128)
    host_count = serializers.IntegerField(read_only=True, default=0)

    class Meta:
        model = HostGroup
        fields: ClassVar = ["group_id", "name", "description", "host_count", "created_at"]


class GrantSerializer(StrictSerializer):
    """An operator who may run tasks on a group's hosts."""

    username = StrictCharField(max_length=150)
    granted_at = serializers.DateTimeField(source="created_at", read_only=True)

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Return one grant as JSON."""
        return {
            "username": instance.user.username,
            "granted_at": self.fields["granted_at"].to_representation(instance.created_at),
        }


class CountSerializer(StrictSerializer):
    """How many hosts a change moved."""

    changed = serializers.IntegerField()


class TagSerializer(StrictSerializer):
    """A tag, and how many hosts have it."""

    tag = serializers.CharField()
    hosts = serializers.IntegerField()


class SelectionSerializer(StrictMixin, serializers.Serializer[Any]):
    """Hosts by id or by exact name, groups by name, tags; all together."""

    hosts = serializers.ListField(
        child=serializers.CharField(help_text="The id of a host, or its name as it is shown."),
        required=False,
        max_length=MAX_HOSTS,
    )
    groups = serializers.ListField(child=serializers.CharField(), required=False)
    tags = serializers.ListField(child=serializers.CharField(), required=False)


class TargetSerializer(SelectionSerializer):
    """Which hosts a task is for (for the description; ``hosts_app.targets`` reads it)."""

    all = serializers.BooleanField(required=False)
    exclude = SelectionSerializer(required=False)


class PreviewSerializer(StrictSerializer):
    """A target to resolve, and steps to lay out over its hosts."""

    target = serializers.JSONField()
    commands = serializers.ListField(
        child=serializers.DictField(), required=False, max_length=MAX_STEPS
    )


class PreviewedCommandSerializer(serializers.Serializer[Any]):
    """A step as for creating a task; of it only ``host`` matters here."""

    host = serializers.UUIDField(required=False, allow_null=True)


class PreviewBodySerializer(StrictSerializer):
    """A target to resolve, described."""

    target = TargetSerializer()
    commands = PreviewedCommandSerializer(many=True, required=False)


class StepHostsSerializer(serializers.Serializer[Any]):
    """How many hosts a step runs on; ``host`` where it is for one only."""

    position = serializers.IntegerField()
    host = serializers.UUIDField(allow_null=True)
    hosts = serializers.IntegerField()


class PinnedHostSerializer(serializers.Serializer[Any]):
    """A host, named."""

    host_id = serializers.UUIDField()
    hostname = serializers.CharField()
