"""Groups, members and grants over the API; enrolment tokens; the agent's download."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

import pytest
from django.test import Client

from agents_app.models import EnrollmentToken
from devops_manager.access.models import AuditEvent, Role
from hosts_app.models import HostGroup
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


def test_a_group_is_made_changed_and_deleted(api: Api) -> None:
    made = api.post("host-groups", {"name": "front", "description": "web"})
    assert made.status_code == 201
    group = made.json()
    assert (group["name"], group["host_count"]) == ("front", 0)
    path = f"host-groups/{group['group_id']}"
    assert set(problem(api.send("PATCH", path, {"name": "a\x9bb"}), 400)["errors"]) == {"name"}
    changed = api.send("PATCH", path, {"description": ""}).json()
    assert changed == {**group, "description": ""}
    assert api.get(path).json() == changed
    assert api.get("host-groups", name="FRO").json()["results"] == [changed]
    assert problem(api.post("host-groups", {"name": "front"}), 409)["code"] == "name_taken"
    assert api.send("DELETE", path).status_code == 204
    for method in ("GET", "PATCH", "DELETE"):
        assert problem(api.send(method, path, {}), 404)["code"] == "not_found"


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"name"}),
        ({"name": " "}, {"name"}),
        ({"name": ["x"]}, {"name"}),
        ({"name": "x" * 129}, {"name"}),
        ({"name": "a\u202eb"}, {"name"}),
        ({"name": "a\nb"}, {"name"}),
        ({"name": "x", "description": 1}, {"description"}),
        ({"name": "x", "host_count": 5, "hosts": []}, {"host_count", "hosts"}),
    ],
)
def test_a_wrong_group_is_refused_by_field(api: Api, body: Any, fields: set[str]) -> None:
    assert set(problem(api.post("host-groups", body), 400)["errors"]) == fields
    assert not HostGroup.objects.exists()


def test_members_come_and_go(api: Api) -> None:
    group = api.post("host-groups", {"name": "front"}).json()
    path = f"host-groups/{group['group_id']}"
    hosts = [str(host.host_id) for host in make_hosts(3)]
    assert api.post(f"{path}/add-hosts", {"hosts": hosts}).json() == {"changed": 3}
    assert api.post(f"{path}/add-hosts", {"hosts": hosts}).json() == {"changed": 0}
    assert api.post(f"{path}/remove-hosts", {"hosts": hosts[:1]}).json() == {"changed": 1}
    assert api.get(path).json()["host_count"] == 2
    unknown = api.post(f"{path}/add-hosts", {"hosts": [str(NOBODY)]})
    assert problem(unknown, 400)["errors"] == {"hosts": [f"unknown host: {NOBODY}"]}
    for act in ("add-hosts", "remove-hosts"):
        assert "hosts" in problem(api.post(f"{path}/{act}", {}), 400)["errors"]
        elsewhere = api.post(f"host-groups/{NOBODY}/{act}", {"hosts": hosts})
        assert problem(elsewhere, 404)["code"] == "not_found"


def test_grants_are_given_listed_and_taken_back(api: Api) -> None:
    make_user(Role.OPERATOR, "olga")
    group = api.post("host-groups", {"name": "front"}).json()
    path = f"host-groups/{group['group_id']}"
    assert api.post(f"{path}/grant", {"username": "olga"}).status_code == 204
    assert api.post(f"{path}/grant", {"username": "olga"}).status_code == 204
    grants = api.get(f"{path}/grants").json()
    assert [grant["username"] for grant in grants["results"]] == ["olga"]
    assert grants["count"] == 1
    assert api.post(f"{path}/revoke-grant", {"username": "olga"}).status_code == 204
    assert api.get(f"{path}/grants").json()["count"] == 0
    for body in ({}, {"username": "nobody"}, {"username": 1}, {"user": "olga"}):
        assert problem(api.post(f"{path}/grant", body), 400)["errors"]
        assert problem(api.post(f"{path}/revoke-grant", body), 400)["errors"]
    assert problem(api.get(f"host-groups/{NOBODY}/grants"), 404)["code"] == "not_found"
    assert set(problem(api.get(f"{path}/grants", x=1), 400)["errors"]) == {"x"}


def test_an_enrolment_token_is_shown_once_and_revoked(api: Api) -> None:
    api.post("host-groups", {"name": "front"})
    body = {"name": "rack 7", "auto_approve": True, "groups": ["front", "front"], "max_uses": 5}
    made = api.post("enrollment-tokens", body)
    assert made.status_code == 201
    token = made.json()
    secret = token.pop("secret")
    assert secret.startswith("dme_")
    assert token["groups"] == ["front"]
    assert token["created_by"] == "the-admin"
    assert api.get("enrollment-tokens").json()["results"] == [token]
    for _ in range(2):
        gone = api.send("DELETE", f"enrollment-tokens/{token['token_id']}")
        assert gone.status_code == 204
    assert api.get("enrollment-tokens").json()["results"][0]["revoked_at"]
    assert problem(api.send("DELETE", f"enrollment-tokens/{NOBODY}"), 404)["code"] == "not_found"
    actions = AuditEvent.objects.filter(object_type="enrollment_token").order_by("id")
    assert [event.action for event in actions] == [
        "enrollment_token.create",
        "enrollment_token.revoke",
    ]
    assert secret not in str(list(actions.values()))


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"name"}),
        ({"name": "a\u202eb"}, {"name"}),
        ({"name": "x", "groups": ["nope"]}, {"groups"}),
        ({"name": "x", "groups": "front"}, {"groups"}),
        ({"name": "x", "max_uses": 0}, {"max_uses"}),
        ({"name": "x", "max_uses": "1"}, {"max_uses"}),
        ({"name": "x", "auto_approve": "yes"}, {"auto_approve"}),
        ({"name": "x", "expires_at": "2020-01-01T00:00:00Z"}, {"expires_at"}),
        ({"name": "x", "secret": "s", "used_count": 1}, {"secret", "used_count"}),
    ],
)
def test_a_wrong_enrolment_token_is_refused(api: Api, body: Any, fields: set[str]) -> None:
    assert set(problem(api.post("enrollment-tokens", body), 400)["errors"]) == fields
    assert not EnrollmentToken.objects.exists()


def test_anybody_may_fetch_the_agent_and_check_it() -> None:
    client = Client()
    agent = client.get("/agent/devops-agent.pyz")
    digest = hashlib.sha256(agent.content).hexdigest()
    assert agent["X-Checksum-Sha256"] == digest
    line = client.get("/agent/devops-agent.pyz.sha256").content.decode()
    assert line == f"{digest}  devops-agent.pyz\n"
    script = client.get("/agent/install.sh", headers={"Host": "localhost"}).content.decode()
    assert digest in script
    assert "http://localhost/agent/devops-agent.pyz" in script
    for path in ("devops-agent.pyz", "devops-agent.pyz.sha256", "install.sh"):
        assert client.post(f"/agent/{path}").status_code == 405
