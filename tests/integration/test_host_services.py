"""What is done to hosts and groups, and its trace in the audit trail."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.conf import settings
from django.utils import timezone

from devops_manager.access.models import AuditEvent, Role
from devops_manager.lib.errors import Conflict, Forbidden, InvalidInput, NotFound
from hosts_app import services
from hosts_app.models import (
    Host,
    HostGroup,
    HostGroupGrant,
    HostGroupMember,
    HostHeartbeat,
    RetiredIdentity,
)
from hosts_app.records import HostChange
from hosts_app.services import Heartbeat, Load
from hosts_app.states import HostStatus
from tests.queue_world import make_hosts
from tests.task_factories import actor_for, make_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def actor() -> Any:
    return actor_for(make_user(Role.ADMIN))


def pending(*names: str) -> list[Host]:
    return [Host.objects.create(hostname=name) for name in names]


def ids(hosts: list[Host]) -> list[uuid.UUID]:
    return [host.host_id for host in hosts]


def trail() -> list[tuple[str, str]]:
    return list(AuditEvent.objects.order_by("id").values_list("action", "object_id"))


def test_approval_lets_hosts_in_and_is_audited(actor: Any) -> None:
    hosts = pending("a", "b")
    done = services.approve_hosts(actor=actor, host_ids=ids(hosts))
    assert [host.status for host in done] == [HostStatus.ACTIVE] * 2
    assert all(host.approved_at for host in done)
    assert trail() == [("host.approve", str(host.host_id)) for host in hosts]


def test_approval_is_all_or_nothing(actor: Any) -> None:
    hosts = pending("a", "b")
    services.approve_hosts(actor=actor, host_ids=ids(hosts[:1]))
    with pytest.raises(Conflict) as raised:
        services.approve_hosts(actor=actor, host_ids=ids(hosts))
    assert raised.value.code == "illegal_transition"
    assert raised.value.fields == {"hosts": [f"{hosts[0].host_id}: Active"]}
    with pytest.raises(NotFound):
        services.approve_hosts(actor=actor, host_ids=[*ids(hosts[1:]), uuid.UUID(int=1)])
    hosts[1].refresh_from_db()
    assert hosts[1].status == HostStatus.PENDING
    assert len(trail()) == 1


def test_a_rejected_host_can_be_let_in_after_all(actor: Any) -> None:
    (host,) = pending("a")
    services.reject_hosts(actor=actor, host_ids=[host.host_id])
    enabled = services.enable_host(actor=actor, host_id=host.host_id)
    assert (enabled.status, bool(enabled.approved_at)) == (HostStatus.ACTIVE, True)
    for _again in range(2):
        services.enable_host(actor=actor, host_id=host.host_id)
    for _again in range(2):
        services.disable_host(actor=actor, host_id=host.host_id)
    assert [action for action, _id in trail()] == ["host.reject", "host.enable", "host.disable"]


def test_a_change_touches_only_what_it_names(actor: Any) -> None:
    (host,) = make_hosts(1, tags=["old"])
    HostGroup.objects.create(name="front")
    HostGroup.objects.create(name="back")
    change = HostChange(groups=("front", "back"), max_concurrency=2)
    services.update_host(actor=actor, host_id=host.host_id, change=change)
    services.update_host(actor=actor, host_id=host.host_id, change=HostChange(groups=("back",)))
    services.update_host(actor=actor, host_id=host.host_id, change=HostChange(tags=("new",)))
    services.update_host(actor=actor, host_id=host.host_id, change=HostChange(tags=("new",)))
    host.refresh_from_db()
    assert (host.tags, host.max_concurrency) == (["new"], 2)
    assert [group.name for group in host.groups.all()] == ["back"]
    events = AuditEvent.objects.order_by("id").values_list("before", "after")
    assert list(events) == [
        (
            {"max_concurrency": 5, "groups": []},
            {"max_concurrency": 2, "groups": ["back", "front"]},
        ),
        ({"groups": ["back", "front"]}, {"groups": ["back"]}),
        ({"tags": ["old"]}, {"tags": ["new"]}),
    ]


def test_an_unknown_group_changes_nothing_of_the_host(actor: Any) -> None:
    (host,) = make_hosts(1)
    change = HostChange(tags=("x",), groups=("nope",))
    with pytest.raises(InvalidInput) as raised:
        services.update_host(actor=actor, host_id=host.host_id, change=change)
    assert raised.value.fields == {"groups": ["unknown group: nope"]}
    host.refresh_from_db()
    assert host.tags == []


def test_release_forgets_the_retired_identities(actor: Any) -> None:
    (host,) = make_hosts(1, quarantined_at=timezone.now(), quarantine_reason="two agents")
    RetiredIdentity.objects.create(host=host, identity=uuid.uuid4(), run=1, seq=1)
    released = services.release_quarantine(actor=actor, host_id=host.host_id)
    assert (released.quarantined_at, released.quarantine_reason) == (None, "")
    assert not RetiredIdentity.objects.exists()
    with pytest.raises(Conflict) as raised:
        services.release_quarantine(actor=actor, host_id=host.host_id)
    assert raised.value.code == "not_quarantined"


@pytest.fixture
def heard(redis_client: redis.Redis) -> Iterator[Any]:
    subscription = redis_client.pubsub(ignore_subscribe_messages=False)
    subscription.subscribe(settings.DM_WAKE_CHANNEL)
    assert subscription.get_message(timeout=5)
    yield subscription
    subscription.close()


@pytest.mark.django_db(transaction=True)
def test_a_revoked_credential_is_of_an_older_generation_and_gateways_hear_of_it(
    actor: Any, heard: Any
) -> None:
    (host,) = make_hosts(1)
    revoked = services.revoke_credential(actor=actor, host_id=host.host_id)
    assert revoked.credential_generation == host.credential_generation + 1
    message = heard.get_message(timeout=5)
    assert json.loads(message["data"]) == {"revoke": [host.pk]}


def test_group_names_are_taken_once(actor: Any) -> None:
    front = services.create_group(actor=actor, name="front", description="web")
    back = services.create_group(actor=actor, name="back")
    for act in (
        lambda: services.create_group(actor=actor, name="front"),
        lambda: services.update_group(actor=actor, group_id=back.group_id, name="front"),
    ):
        with pytest.raises(Conflict) as raised:
            act()
        assert raised.value.code == "name_taken"
    renamed = services.update_group(actor=actor, group_id=front.group_id, name="edge")
    assert (renamed.name, renamed.description) == ("edge", "web")
    assert services.update_group(actor=actor, group_id=front.group_id, name="edge").name == "edge"
    assert [action for action, _id in trail()] == ["group.create"] * 2 + ["group.update"]


def test_members_come_and_go_by_set(actor: Any) -> None:
    group = services.create_group(actor=actor, name="front")
    hosts = make_hosts(3)
    first, every = ids(hosts[:2]), ids(hosts)
    assert services.add_hosts(actor=actor, group_id=group.group_id, host_ids=first) == 2
    assert services.add_hosts(actor=actor, group_id=group.group_id, host_ids=every) == 1
    assert services.remove_hosts(actor=actor, group_id=group.group_id, host_ids=first) == 2
    assert services.remove_hosts(actor=actor, group_id=group.group_id, host_ids=first) == 0
    with pytest.raises(InvalidInput) as raised:
        services.add_hosts(
            actor=actor, group_id=group.group_id, host_ids=[*first, uuid.UUID(int=1)]
        )
    assert list(raised.value.fields) == ["hosts"]
    assert list(HostGroupMember.objects.values_list("host_id", flat=True)) == [hosts[2].pk]
    added = AuditEvent.objects.filter(action="group.add_hosts").order_by("id").last()
    assert added is not None
    assert added.after == {"hosts": [str(hosts[2].host_id)]}


def test_grants_are_given_once_and_taken_back(actor: Any) -> None:
    group = services.create_group(actor=actor, name="front")
    operator = make_user(Role.OPERATOR, "olga")
    give = {"actor": actor, "group_id": group.group_id, "username": "olga"}
    assert services.grant_group(**give)
    assert not services.grant_group(**give)
    assert HostGroupGrant.objects.get().user == operator
    services.revoke_grant(**give)
    services.revoke_grant(**give)
    assert not HostGroupGrant.objects.exists()
    with pytest.raises(InvalidInput) as raised:
        services.grant_group(**{**give, "username": "nobody"})
    assert list(raised.value.fields) == ["username"]
    services.delete_group(actor=actor, group_id=group.group_id)
    with pytest.raises(NotFound):
        services.delete_group(actor=actor, group_id=group.group_id)
    assert [action for action, _id in trail()] == [
        "group.create",
        "group.grant",
        "group.revoke_grant",
        "group.delete",
    ]


def test_heartbeats_are_written_by_set() -> None:
    hosts = make_hosts(3, agent_version="0.1")
    services.record_heartbeats(
        [
            Heartbeat(host=hosts[1].pk, load=Load(cpu_percent=1, load1=0.5), running_count=1),
            Heartbeat(host=hosts[0].pk, boot_id="b" * 100, agent_version="0.2"),
            Heartbeat(host=10**12),
            Heartbeat(host=hosts[1].pk, load=Load(cpu_percent=2), clock_skew_ms=-5),
        ]
    )
    first, second = HostHeartbeat.objects.order_by("host_id")
    assert (first.boot_id, first.running_count) == ("b" * 64, 0)
    assert (second.cpu_percent, second.load1, second.clock_skew_ms) == (2, None, -5)
    assert second.running_count == 0
    services.record_heartbeats([Heartbeat(host=hosts[1].pk)])
    second.refresh_from_db()
    assert (second.cpu_percent, second.clock_skew_ms) == (2, -5)
    hosts[0].refresh_from_db()
    assert hosts[0].agent_version == "0.2"
    services.record_heartbeats([])


def test_the_silent_are_declared_offline_once_and_heard_again() -> None:
    hosts = make_hosts(2)
    services.record_heartbeats([Heartbeat(host=host.pk) for host in hosts])
    long_ago = timezone.now() - timedelta(seconds=settings.DM_OFFLINE_AFTER_SECONDS + 1)
    HostHeartbeat.objects.filter(host=hosts[0]).update(last_seen_at=long_ago)
    assert services.sweep_offline_hosts() == 1
    assert services.sweep_offline_hosts() == 0
    heartbeat = HostHeartbeat.objects.get(host=hosts[0])
    assert heartbeat.offline_at
    services.record_heartbeats([Heartbeat(host=hosts[0].pk)])
    heartbeat.refresh_from_db()
    assert heartbeat.offline_at is None


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.APPROVER])
def test_groups_and_grants_are_for_administrators_whatever_the_door(actor: Any, role: Role) -> None:
    group = services.create_group(actor=actor, name="web")
    before = trail()
    other = actor_for(make_user(role, "vera"))
    group_id = group.group_id
    for call in (
        lambda: services.create_group(actor=other, name="mine"),
        lambda: services.update_group(actor=other, group_id=group_id, name="mine"),
        lambda: services.delete_group(actor=other, group_id=group_id),
        lambda: services.add_hosts(actor=other, group_id=group_id, host_ids=[]),
        lambda: services.remove_hosts(actor=other, group_id=group_id, host_ids=[]),
        lambda: services.grant_group(actor=other, group_id=group_id, username="vera"),
        lambda: services.revoke_grant(actor=other, group_id=group_id, username="vera"),
    ):
        with pytest.raises(Forbidden):
            call()
    assert trail() == before
    assert not HostGroupGrant.objects.exists()
