"""What targets come to, and that what cannot be found is named."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devops_manager.access.models import Role
from devops_manager.lib.errors import DomainError, Forbidden, InvalidInput
from hosts_app.models import Host, HostGroup, HostGroupGrant, HostGroupMember
from hosts_app.selectors import allowed_group_ids, hosts_by_keys, resolve_target
from hosts_app.states import HostStatus
from hosts_app.targets import parse_target
from tests.task_factories import actor_for, make_user

pytestmark = pytest.mark.django_db
NOBODY = uuid.UUID(int=9)


def make_host(name: str, **fields: Any) -> Host:
    return Host.objects.create(hostname=name, **{"status": HostStatus.ACTIVE, **fields})


def make_group(name: str, *hosts: Host) -> HostGroup:
    group = HostGroup.objects.create(name=name)
    HostGroupMember.objects.bulk_create(HostGroupMember(group=group, host=host) for host in hosts)
    return group


def resolve(value: Any, allowed: list[int] | None = None) -> set[str]:
    keys = resolve_target(target=parse_target(value), allowed_groups=allowed)
    assert keys == sorted(set(keys))
    return {host.hostname for host in hosts_by_keys(keys)}


def refused(value: Any, allowed: list[int] | None = None) -> DomainError:
    with pytest.raises(DomainError) as raised:
        resolve(value, allowed)
    return raised.value


class World:
    """Four hosts that may work, three that may not, two groups."""

    def __init__(self) -> None:
        self.web = make_host("web", tags=["blue", "linux"])
        self.db = make_host("db", tags=["green", "linux"])
        self.cache = make_host("cache")
        self.lone = make_host("lone", tags=["blue"])
        self.pending = make_host("new", status=HostStatus.PENDING, tags=["fresh"])
        self.disabled = make_host("gone", status=HostStatus.DISABLED, tags=["linux"])
        self.clone = make_host("clone", tags=["linux"], quarantined_at=timezone.now())
        self.front = make_group("front", self.web, self.cache, self.disabled, self.clone)
        self.back = make_group("back", self.db)


@pytest.fixture
def world() -> World:
    return World()


def test_hosts_groups_and_tags_are_united_and_exclusions_taken_out(world: World) -> None:
    assert resolve({"all": True}) == {"web", "db", "cache", "lone"}
    assert resolve({"hosts": [str(world.lone.host_id)], "groups": ["front"]}) == {
        "lone",
        "web",
        "cache",
    }
    assert resolve({"tags": ["linux", "blue"]}) == {"web", "db", "lone"}
    assert resolve({"all": True, "exclude": {"tags": ["blue"], "groups": ["back"]}}) == {"cache"}
    assert resolve({"groups": ["front"], "exclude": {"hosts": [str(world.web.host_id)]}}) == {
        "cache"
    }


def test_what_cannot_be_found_is_named_and_nothing_comes_of_it(world: World) -> None:
    error = refused(
        {
            "hosts": [str(world.web.host_id), str(NOBODY), str(world.pending.host_id)],
            "groups": ["front", "frnt"],
            "tags": ["linux", "linx"],
            "exclude": {"hosts": [str(NOBODY)], "groups": ["bck"], "tags": ["gren"]},
        }
    )
    assert isinstance(error, InvalidInput)
    assert error.code == "unknown_target"
    assert error.fields == {
        "target.hosts": [
            f"unknown host: {NOBODY}",
            f"host not approved yet: {world.pending.host_id}",
        ],
        "target.groups": ["unknown group: frnt"],
        "target.tags": ["no host has the tag: linx"],
        "target.exclude.hosts": [f"unknown host: {NOBODY}"],
        "target.exclude.groups": ["unknown group: bck"],
        "target.exclude.tags": ["no host has the tag: gren"],
    }


def test_named_hosts_must_be_able_to_work(world: World) -> None:
    error = refused({"hosts": [str(world.disabled.host_id), str(world.clone.host_id)]})
    assert error.fields["target.hosts"] == [
        f"host disabled: {world.disabled.host_id}",
        f"host quarantined: {world.clone.host_id}",
    ]


def test_many_unknown_hosts_are_counted_not_all_listed() -> None:
    error = refused({"hosts": [str(uuid.uuid4()) for _ in range(50)]})
    assert len(error.fields["target.hosts"]) == 21
    assert error.fields["target.hosts"][-1] == "and 30 more"


@pytest.mark.parametrize(
    "value", [{}, {"tags": ["fresh"]}, {"tags": ["blue"], "exclude": {"tags": ["blue"]}}]
)
def test_an_empty_target_is_an_error(world: World, value: Any) -> None:
    error = refused(value)
    assert isinstance(error, InvalidInput)
    assert error.code == "empty_target"
    assert list(error.fields) == ["target"]


def test_an_operator_reaches_only_the_groups_granted(world: World) -> None:
    allowed = [world.front.pk]
    assert resolve({"all": True}, allowed) == {"web", "cache"}
    assert resolve({"tags": ["linux"]}, allowed) == {"web"}
    assert resolve({"groups": ["front"], "exclude": {"groups": ["back"]}}, allowed) == {
        "web",
        "cache",
    }
    foreign = refused({"hosts": [str(world.db.host_id), str(world.web.host_id)]}, allowed)
    assert foreign.code == "unknown_target"
    assert foreign.fields == {"target.hosts": [f"unknown host: {world.db.host_id}"]}
    ungranted = refused({"groups": ["front", "back"]}, allowed)
    assert isinstance(ungranted, Forbidden)
    assert ungranted.code == "group_not_granted"
    assert ungranted.fields == {"target.groups": ["not granted: back"]}
    assert refused({"tags": ["green"]}, allowed).code == "empty_target"
    assert refused({"all": True}, []).code == "empty_target"


def test_who_reaches_what_follows_from_role_and_grants(world: World) -> None:
    operator = make_user(Role.OPERATOR)
    HostGroupGrant.objects.create(user=operator, group=world.back)
    HostGroupGrant.objects.create(user=operator, group=world.front)
    viewer = make_user(Role.VIEWER)
    HostGroupGrant.objects.create(user=viewer, group=world.back)
    assert allowed_group_ids(actor_for(make_user(Role.ADMIN))) is None
    assert allowed_group_ids(actor_for(operator)) == sorted([world.front.pk, world.back.pk])
    assert allowed_group_ids(actor_for(viewer)) == []


def test_ten_thousand_hosts_are_resolved_in_a_handful_of_statements() -> None:
    hosts = Host.objects.bulk_create(
        [
            Host(hostname=f"h{no}", status=HostStatus.ACTIVE, tags=["even"] if no % 2 == 0 else [])
            for no in range(10_000)
        ]
    )
    group = HostGroup.objects.create(name="all of them")
    HostGroupMember.objects.bulk_create(HostGroupMember(group=group, host=host) for host in hosts)
    target = parse_target(
        {
            "hosts": [str(host.host_id) for host in hosts[:5000]],
            "groups": ["all of them"],
            "exclude": {"tags": ["even"]},
        }
    )
    with CaptureQueriesContext(connection) as queries:
        keys = resolve_target(target=target, allowed_groups=[group.pk])
    assert len(keys) == 5000
    assert len(queries) <= 4
