"""Hosts, approval, tags and previews over the API."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devops_manager.access.models import AuditEvent, Role
from hosts_app.models import Host, HostGroup, HostGroupGrant, HostGroupMember
from hosts_app.services import Heartbeat, Load, record_heartbeats
from hosts_app.states import HostStatus
from tests.queue_world import make_hosts
from tests.task_factories import Api, make_user

pytestmark = pytest.mark.django_db
NOBODY = uuid.UUID(int=1)


@pytest.fixture
def api() -> Api:
    return Api(make_user())


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    return response.json()


def names(response: Any) -> list[str]:
    assert response.status_code == 200, response.content
    return [host["hostname"] for host in response.json()["results"]]


def make_group(name: str, *hosts: Host) -> HostGroup:
    group = HostGroup.objects.create(name=name)
    HostGroupMember.objects.bulk_create(HostGroupMember(group=group, host=host) for host in hosts)
    return group


def test_a_host_is_shown_with_its_heartbeat_and_groups(api: Api) -> None:
    (host,) = make_hosts(1, tags=["blue"], ip="192.0.2.7", facts={"kernel": "6.1"})
    make_group("front", host)
    record_heartbeats([Heartbeat(host=host.pk, load=Load(cpu_percent=3), running_count=2)])
    shown = api.get(f"hosts/{host.host_id}").json()
    assert shown["host_id"] == str(host.host_id)
    assert shown["online"] is True
    assert shown["groups"] == ["front"]
    assert shown["facts"] == {"kernel": "6.1"}
    assert shown["heartbeat"]["cpu_percent"] == 3
    assert shown["heartbeat"]["running_count"] == 2
    listed = api.get("hosts").json()["results"][0]
    assert "facts" not in listed
    assert listed.items() <= shown.items()
    assert problem(api.get(f"hosts/{NOBODY}"), 404)["code"] == "not_found"
    assert problem(api.get("hosts/x"), 404)["code"] == "not_found"


def test_a_list_asks_the_same_few_statements_however_long(api: Api) -> None:
    hosts = make_hosts(60)
    make_group("front", *hosts)
    record_heartbeats([Heartbeat(host=host.pk) for host in hosts])
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert len(names(api.get("hosts", size=60))) == 60
    # session, user, count, page, groups
    assert len(queries) <= 5


def test_hosts_are_found_by_what_they_are(api: Api) -> None:
    web = Host.objects.create(hostname="Web-1", status="active", tags=["a", "b"], ip="192.0.2.7")
    db = Host.objects.create(hostname="db-1", status="active", tags=["a"], ip="198.51.100.3")
    Host.objects.create(hostname="new", quarantined_at=timezone.now())
    make_group("front", web)
    record_heartbeats([Heartbeat(host=db.pk)])
    assert names(api.get("hosts")) == ["Web-1", "db-1", "new"]
    assert names(api.get("hosts", ordering="-created_at"))[0] in {"Web-1", "db-1", "new"}
    for query, found in (
        ({"status": "active"}, ["Web-1", "db-1"]),
        ({"online": "true"}, ["db-1"]),
        ({"online": "false"}, ["Web-1", "new"]),
        ({"quarantined": "true"}, ["new"]),
        ({"quarantined": "false"}, ["Web-1", "db-1"]),
        ({"group": "front"}, ["Web-1"]),
        ({"group": "nope"}, []),
        ({"tag": "a"}, ["Web-1", "db-1"]),
        ({"tag": ["a", "b"]}, ["Web-1"]),
        ({"hostname": "Web-1"}, ["Web-1"]),
        ({"hostname": "WEB-1"}, []),
        ({"hostname": "Web"}, []),
        ({"hostname": "%"}, []),
        ({"search": "WEB"}, ["Web-1"]),
        ({"search": "198.51"}, ["db-1"]),
        ({"search": "-1", "tag": "b"}, ["Web-1"]),
        ({"ordering": "-hostname", "status": "active"}, ["db-1", "Web-1"]),
    ):
        assert names(api.get("hosts", **query)) == found, query


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"status": "up"}, "status"),
        ({"online": "yes"}, "online"),
        ({"ordering": "ip"}, "ordering"),
        ({"hostname": "x" * 300}, "hostname"),
        ({"name": "x"}, "name"),
        ({"page": "0"}, "page"),
        ({"tag": "\x00"}, "tag"),
    ],
)
def test_a_wrong_filter_is_named(api: Api, query: dict[str, str], field: str) -> None:
    assert set(problem(api.get("hosts", **query), 400)["errors"]) == {field}


def test_a_host_is_changed(api: Api) -> None:
    (host,) = make_hosts(1)
    make_group("front")
    body = {"tags": ["web", "蓝"], "groups": ["front"], "max_concurrency": 3}
    changed = api.send("PATCH", f"hosts/{host.host_id}", body).json()
    assert {key: changed[key] for key in body} == body
    assert api.send("PATCH", f"hosts/{host.host_id}", {}).json() == changed
    assert AuditEvent.objects.filter(action="host.update").count() == 1


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"status": "active", "hostname": "x"}, {"status", "hostname"}),
        ({"host_id": str(NOBODY), "approved_at": None}, {"host_id", "approved_at"}),
        ({"tags": "web"}, {"tags"}),
        ({"tags": ["a", 1]}, {"tags[1]"}),
        ({"tags": ["a", "a"]}, {"tags"}),
        ({"tags": ["x" * 65]}, {"tags[0]"}),
        ({"tags": ["a", "a\nb", "a\u2066b"]}, {"tags[1]", "tags[2]"}),
        ({"groups": ["nope"]}, {"groups"}),
        ({"max_concurrency": 0}, {"max_concurrency"}),
        ({"max_concurrency": 1001}, {"max_concurrency"}),
        ({"max_concurrency": "5"}, {"max_concurrency"}),
        ({"max_concurrency": True}, {"max_concurrency"}),
    ],
)
def test_a_wrong_change_is_refused_by_field(api: Api, body: Any, fields: set[str]) -> None:
    (host,) = make_hosts(1)
    answer = api.send("PATCH", f"hosts/{host.host_id}", body)
    assert set(problem(answer, 400)["errors"]) == fields


def test_a_host_is_disabled_enabled_released_and_its_credential_revoked(api: Api) -> None:
    (host,) = make_hosts(1, quarantined_at=timezone.now(), quarantine_reason="clone")
    path = f"hosts/{host.host_id}"
    for _again in range(2):
        assert api.post(f"{path}/disable").json()["status"] == "disabled"
    for _again in range(2):
        assert api.post(f"{path}/enable").json()["status"] == "active"
    assert api.post(f"{path}/release").json()["quarantined_at"] is None
    assert problem(api.post(f"{path}/release"), 409)["code"] == "not_quarantined"
    assert api.post(f"{path}/revoke-credential").status_code == 200
    host.refresh_from_db()
    assert host.credential_generation == 2
    for act in ("disable", "enable", "release", "revoke-credential"):
        assert problem(api.post(f"hosts/{NOBODY}/{act}"), 404)["code"] == "not_found"


def test_pending_hosts_are_let_in_or_sent_away() -> None:
    api = Api(make_user(Role.APPROVER))
    one, two, three = (Host.objects.create(hostname=name) for name in ("a", "b", "c"))
    make_hosts(1)
    assert names(api.get("pending-hosts")) == ["a", "b", "c"]
    assert api.post(f"pending-hosts/{one.host_id}/approve").json()["status"] == "active"
    assert api.post(f"pending-hosts/{two.host_id}/reject").json()["status"] == "disabled"
    again = api.post(f"pending-hosts/{one.host_id}/approve")
    assert problem(again, 409)["code"] == "illegal_transition"
    assert problem(api.post(f"pending-hosts/{NOBODY}/approve"), 404)["code"] == "not_found"
    assert names(api.get("pending-hosts")) == ["c"]
    both = {"hosts": [str(three.host_id), str(one.host_id)]}
    assert problem(api.post("pending-hosts/approve", both), 409)["errors"]["hosts"]
    assert api.post("pending-hosts/approve", {"hosts": [str(three.host_id)]}).json() == {
        "changed": 1
    }


@pytest.mark.parametrize("act", ["approve", "reject"])
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "hosts"),
        ({"hosts": []}, "hosts"),
        ({"hosts": ["x"]}, "hosts[0]"),
        ({"hosts": [str(NOBODY), str(NOBODY)]}, "hosts"),
        ({"host": []}, "host"),
    ],
)
def test_a_wrong_list_of_hosts_is_refused(api: Api, act: str, body: Any, field: str) -> None:
    assert field in problem(api.post(f"pending-hosts/{act}", body), 400)["errors"]


def test_tags_are_counted(api: Api) -> None:
    make_hosts(2, tags=["web", "blue"])
    make_hosts(1, tags=["web"])
    Host.objects.create(hostname="gone", status=HostStatus.DISABLED, tags=["old"])
    body = api.get("host-tags").json()
    assert body["results"] == [{"tag": "blue", "hosts": 2}, {"tag": "web", "hosts": 3}]
    assert body["count"] == 2
    assert api.get("host-tags", contains="lu").json()["results"] == [{"tag": "blue", "hosts": 2}]
    assert api.get("host-tags", size=1, page=2).json()["results"] == [{"tag": "web", "hosts": 3}]
    assert set(problem(api.get("host-tags", q="x"), 400)["errors"]) == {"q"}
    assert set(problem(api.get("host-tags", page=9), 404)["errors"]) == {"page"}


def test_a_preview_says_what_a_target_comes_to_and_starts_nothing() -> None:
    hosts = make_hosts(5, tags=["web"])
    group = make_group("front", *hosts[:3])
    operator = make_user(Role.OPERATOR)
    HostGroupGrant.objects.create(user=operator, group=group)
    body = {"target": {"tags": ["web"]}}
    mine = Api(operator).send("POST", "targets/preview?size=2", body).json()
    assert (mine["count"], mine["size"]) == (3, 2)
    assert [host["hostname"] for host in mine["results"]] == ["host-1", "host-2"]
    assert Api(make_user()).post("targets/preview", body).json()["count"] == 5
    assert not AuditEvent.objects.exists()


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        ({}, 400, "invalid_request", "target"),
        ({"target": None}, 400, "invalid_request", "target"),
        ({"target": []}, 400, "invalid_request", "target"),
        ({"target": {}}, 400, "empty_target", "target"),
        ({"target": {"hosts": [" x"]}}, 400, "invalid_request", "target.hosts[0]"),
        ({"target": {"hosts": ["x"]}}, 400, "unknown_target", "target.hosts"),
        ({"target": {"groups": ["x"]}}, 400, "unknown_target", "target.groups"),
        ({"target": {"all": True}, "x": 1}, 400, "invalid_request", "x"),
    ],
)
def test_a_wrong_preview_is_refused(
    api: Api, body: Any, status: int, code: str, field: str
) -> None:
    answer = problem(api.post("targets/preview", body), status)
    assert answer["code"] == code
    assert field in answer["errors"]
