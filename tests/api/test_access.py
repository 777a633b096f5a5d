"""Signing in, tokens, who am I, the audit trail."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from devops_manager.access.models import ApiToken, AuditEvent, Role, User
from devops_manager.access.services import create_token
from tests.task_factories import Api, actor_for, make_user

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    return response.json()


def person(role: Role = Role.VIEWER, name: str = "vera") -> User:
    return User.objects.create_user(name, password=PASSWORD, role=role)


def login(client: Client, password: str = PASSWORD, name: str = "vera") -> Any:
    body = {"username": name, "password": password}
    return client.post("/api/v1/auth/login", body, content_type="application/json")


def bearer(user: User, role: Role = Role.ADMIN, **fields: Any) -> dict[str, str]:
    token, secret = create_token(
        actor=actor_for(user),
        name="t",
        role=role if user.role == Role.ADMIN else Role.VIEWER,
        expires_at=None,
    )
    ApiToken.objects.filter(pk=token.pk).update(**fields)
    return {"Authorization": f"Bearer {secret}"}


def test_a_person_signs_in_asks_and_signs_out() -> None:
    person()
    client = Client(enforce_csrf_checks=True)
    assert login(client).json() == {
        "username": "vera",
        "kind": "person",
        "role": "viewer",
        "language": "",
        "token": None,
    }
    assert client.get("/api/v1/me").json()["username"] == "vera"
    refused = client.post("/api/v1/auth/logout", content_type="application/json")
    assert problem(refused, 403)["code"] == "csrf_failed"
    headers = {"X-CSRFToken": client.cookies["csrftoken"].value}
    left = client.post("/api/v1/auth/logout", content_type="application/json", headers=headers)
    assert left.status_code == 204
    answer = client.get("/api/v1/me")
    assert problem(answer, 401)["code"] == "not_authenticated"
    assert answer["WWW-Authenticate"].startswith("Bearer")
    actions = list(AuditEvent.objects.order_by("id").values_list("action", flat=True))
    assert actions == ["user.sign_in", "user.sign_out"]


def test_a_wrong_password_says_no_more_than_a_wrong_name() -> None:
    person()
    wrong = problem(login(Client(), "nope"), 401)
    unknown = problem(login(Client(), name="nobody"), 401)
    assert wrong["code"] == unknown["code"] == "credentials_invalid"
    assert wrong["detail"] == unknown["detail"]
    User.objects.update(is_active=False)
    assert problem(login(Client()), 401)["detail"] == wrong["detail"]


def test_sign_in_needs_both_fields_and_no_others() -> None:
    client = Client()
    answer = client.post("/api/v1/auth/login", {"user": "x"}, content_type="application/json")
    assert set(problem(answer, 400)["errors"]) == {"username", "password", "user"}


def test_too_many_wrong_passwords_lock_the_name_for_a_while() -> None:
    person()
    client = Client()
    for _ in range(settings.AXES_FAILURE_LIMIT - 1):
        problem(login(client, "nope"), 401)
    locked = login(client, "nope")
    assert problem(locked, 429)["code"] == "locked_out"
    assert int(locked["Retry-After"]) == 900
    assert problem(login(client), 429)["code"] == "locked_out"


def test_a_token_is_shown_once_and_works_until_it_is_revoked() -> None:
    api = Api(make_user(Role.OPERATOR))
    made = api.post("tokens", {"name": "deploy", "role": "operator"})
    assert made.status_code == 201
    body = made.json()
    secret = body.pop("secret")
    assert secret.startswith("dmt_")
    listed = api.get("tokens").json()
    assert listed["results"] == [body]
    script = Client(headers={"Authorization": f"Bearer {secret}"})
    me = script.get("/api/v1/me").json()
    assert (me["kind"], me["role"], me["token"]) == ("token", "operator", body["prefix"])
    token = ApiToken.objects.get()
    assert secret.encode() not in bytes(token.secret_hash)
    assert token.last_used_at
    used = token.last_used_at
    script.get("/api/v1/me")
    token.refresh_from_db()
    assert token.last_used_at == used
    assert api.send("DELETE", f"tokens/{body['token_id']}").status_code == 204
    assert api.send("DELETE", f"tokens/{body['token_id']}").status_code == 204
    assert problem(script.get("/api/v1/me"), 401)["code"] == "credentials_invalid"
    events = AuditEvent.objects.order_by("id")
    assert [event.action for event in events] == ["token.create", "token.revoke"]
    assert secret not in str(list(events.values()))


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_at": timezone.now() - timedelta(seconds=1)},
        {"revoked_at": timezone.now()},
        {"secret_hash": bytes(32)},
    ],
)
def test_a_token_that_is_not_good_is_refused(fields: dict[str, Any]) -> None:
    headers = bearer(make_user(), **fields)
    assert problem(Client(headers=headers).get("/api/v1/me"), 401)["code"] == "credentials_invalid"


@pytest.mark.parametrize(
    "text", ["Bearer", "Bearer ", "bearer dmt_x", "Bearer \u00e9", "Bearer a b"]
)
def test_what_is_no_token_is_refused(text: str) -> None:
    client = Client(headers={"Authorization": text})
    assert problem(client.get("/api/v1/me"), 401)["code"] == "credentials_invalid"


def test_an_owner_who_left_or_fell_takes_the_token_along() -> None:
    owner = make_user(Role.ADMIN)
    script = Client(headers=bearer(owner))
    assert script.get("/api/v1/audit").status_code == 200
    User.objects.update(role=Role.VIEWER)
    assert script.get("/api/v1/me").json()["role"] == "viewer"
    assert problem(script.get("/api/v1/audit"), 403)["code"] == "forbidden"
    User.objects.update(is_active=False)
    problem(script.get("/api/v1/me"), 401)


@pytest.mark.parametrize("name", ["a\nb", "a\x9b31mb", "a\u202eb", "a\u2028b"], ids=ascii)
def test_a_token_has_a_name_that_shows_as_it_is(name: str) -> None:
    answer = Api(make_user()).post("tokens", {"name": name, "role": "viewer"})
    assert set(problem(answer, 400)["errors"]) == {"name"}


def test_a_token_is_no_wider_than_its_maker() -> None:
    body = {"name": "x", "role": "admin", "expires_at": "2020-01-01T00:00:00Z"}
    answer = Api(make_user(Role.APPROVER)).post("tokens", body)
    assert set(problem(answer, 400)["errors"]) == {"role", "expires_at"}


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, {"name"}),
        ({"name": ""}, {"name"}),
        ({"name": 5}, {"name"}),
        ({"name": "x" * 129}, {"name"}),
        ({"name": "x", "role": "root"}, {"role"}),
        ({"name": "x", "expires_at": "tomorrow"}, {"expires_at"}),
        ({"name": "x", "owner": "admin", "prefix": "p", "scope": 1}, {"owner", "prefix", "scope"}),
        ([], {"body"}),
        ("x", {"body"}),
    ],
)
def test_a_token_that_makes_no_sense_is_refused_by_field(body: Any, fields: set[str]) -> None:
    answer = Api(make_user()).post("tokens", body)
    assert set(problem(answer, 400)["errors"]) == fields


def test_people_see_and_revoke_their_own_tokens_only() -> None:
    owner, other = make_user(Role.VIEWER, "owner"), make_user(Role.OPERATOR, "other")
    bearer(owner)
    token = ApiToken.objects.get()
    assert Api(other).get("tokens").json()["count"] == 0
    answer = Api(other).send("DELETE", f"tokens/{token.token_id}")
    assert problem(answer, 404)["code"] == "not_found"
    admin = Api(make_user())
    assert admin.get("tokens").json()["results"][0]["owner"] == "owner"
    assert admin.send("DELETE", f"tokens/{token.token_id}").status_code == 204


def test_the_audit_trail_is_narrowed_and_paged() -> None:
    api = Api(make_user())
    for name in ("a", "b", "c"):
        api.post("tokens", {"name": name})
    page = api.get("audit", action="token.", size=2, page=2).json()
    assert (page["count"], page["page"], page["size"], len(page["results"])) == (3, 2, 2, 1)
    event = page["results"][0]
    assert event["after"]["name"] == "a"
    assert event["source_ip"] == "127.0.0.1"
    assert event["request_id"]
    assert api.get("audit", object_id=event["object_id"]).json()["count"] == 1
    assert api.get("audit", until=event["occurred_at"]).json()["count"] == 0
    beyond = problem(api.get("audit", page=9), 404)
    assert beyond["errors"] == {"page": ["The last page is 1."]}


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"since": "x"}, "since"),
        ({"actor_kind": "x"}, "actor_kind"),
        ({"who": "x"}, "who"),
        ({"size": "201"}, "size"),
        ({"actor": "\x00"}, "actor"),
    ],
)
def test_a_wrong_audit_filter_is_named(query: dict[str, str], field: str) -> None:
    assert set(problem(Api(make_user()).get("audit", **query), 400)["errors"]) == {field}
