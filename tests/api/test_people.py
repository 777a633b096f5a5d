"""People over the API: who may administer them, and what is refused lest all be locked out."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from devops_manager.access.models import ApiToken, AuditEvent, Role, User
from devops_manager.access.services import create_token
from tests.task_factories import Api, actor_for, make_user

pytestmark = pytest.mark.django_db
NEW = {"username": "vera", "role": "operator"}


@pytest.fixture
def admin() -> User:
    """An administrator by role alone: neither staff nor a superuser."""
    return make_user(Role.ADMIN)


@pytest.fixture
def api(admin: User) -> Api:
    return Api(admin)


def sign_in(username: str, password: str) -> tuple[Client, Any]:
    client = Client()
    body = {"username": username, "password": password}
    return client, client.post("/api/v1/auth/login", body, content_type="application/json")


def code(response: Any, status: int) -> str:
    assert response.status_code == status, response.content
    return str(response.json()["code"])


def events(action: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action=action).order_by("id"))


def test_a_person_is_added_with_a_password_that_is_good_once(api: Api) -> None:
    made = api.post("people", NEW)
    assert made.status_code == 201
    assert made["Cache-Control"] == "no-store, private"
    body = made.json()
    password = body.pop("password")
    assert len(password) == 19
    assert body["must_change_password"] is True
    assert api.get(f"people/{body['id']}").json() == body
    client, signed = sign_in("vera", password)
    assert signed.status_code == 200
    assert code(client.get("/api/v1/tasks"), 403) == "password_change_required"
    assert client.get("/tasks").url == "/password"  # type: ignore[attr-defined]
    assert client.get("/api/docs").status_code == 403
    same = {"old_password": password, "new_password1": password, "new_password2": password}
    assert client.post("/password", same).status_code == 200
    changed = dict.fromkeys(("new_password1", "new_password2"), "quite a long one of my own")
    assert client.post("/password", {"old_password": password, **changed}).status_code == 302
    assert client.get("/api/v1/tasks").status_code == 200
    assert client.get("/tasks").status_code == 200
    (event,) = events("user.create")
    assert event.after is not None
    assert event.after["role"] == "operator"
    assert password not in str(list(AuditEvent.objects.values()))


def test_leaving_works_before_the_password_was_changed(api: Api) -> None:
    password = api.post("people", NEW).json()["password"]
    client, _signed = sign_in("vera", password)
    left = client.post("/api/v1/auth/logout", content_type="application/json")
    assert left.status_code == 204


def test_a_password_may_be_chosen_and_is_not_told_back(api: Api) -> None:
    made = api.post("people", {**NEW, "password": "a long one that was chosen"})
    assert made.json()["password"] is None
    assert sign_in("vera", "a long one that was chosen")[1].status_code == 200
    weak = api.post("people", {"username": "olga", "password": "12345"})
    assert set(weak.json()["errors"]) == {"password"}
    assert not User.objects.filter(username="olga").exists()


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({}, 400, "username"),
        ({"username": ""}, 400, "username"),
        ({"username": "two words"}, 400, "username"),
        ({"username": "a\u202eb"}, 400, "username"),
        ({"username": "x", "role": "root"}, 400, "role"),
        ({"username": "x", "language": "xx"}, 400, "language"),
        ({"username": "x", "email": "no address"}, 400, "email"),
        ({"username": "x", "first_name": "a\u200fb"}, 400, "first_name"),
        ({"username": "x", "is_superuser": True}, 400, "is_superuser"),
        ({"username": "x", "is_staff": True}, 400, "is_staff"),
        ({"username": "x", "is_active": False}, 400, "is_active"),
        ({"username": "The-Admin"}, 409, "username"),
        ({"username": "x" * 151}, 400, "username"),
    ],
)
def test_what_cannot_be_added_is_named(
    api: Api, body: dict[str, Any], status: int, field: str
) -> None:
    refused = api.post("people", body)
    assert refused.status_code == status, refused.content
    assert set(refused.json()["errors"]) == {field}
    assert User.objects.count() == 1


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.APPROVER])
def test_others_do_not_administer_people(admin: User, role: Role) -> None:
    api = Api(make_user(role, "olga"))
    assert code(api.get("people"), 403) == "forbidden"
    assert code(api.post("people", NEW), 403) == "forbidden"
    assert code(api.send("PATCH", f"people/{admin.pk}", {"role": "viewer"}), 403) == "forbidden"
    for verb in ("deactivate", "reactivate", "reset-password"):
        assert code(api.post(f"people/{admin.pk}/{verb}", {}), 403) == "forbidden"
    assert not AuditEvent.objects.exists()


def test_an_administrators_token_reads_people_and_changes_none(admin: User) -> None:
    _token, secret = create_token(
        actor=actor_for(admin), name="t", role=Role.ADMIN, expires_at=None
    )
    script = Api()
    script.client = Client(headers={"Authorization": f"Bearer {secret}"})
    assert script.get("people").status_code == 200
    assert code(script.post("people", NEW), 403) == "session_required"
    other = make_user(Role.VIEWER)
    assert code(script.send("PATCH", f"people/{other.pk}", {"role": "admin"}), 403)
    for verb in ("deactivate", "reactivate", "reset-password"):
        assert code(script.post(f"people/{other.pk}/{verb}", {}), 403) == "session_required"
    other.refresh_from_db()
    assert (other.role, other.is_active) == (Role.VIEWER, True)


def test_a_role_holds_from_the_next_request_on(api: Api) -> None:
    vera = make_user(Role.VIEWER, "vera")
    hers = Api(vera)
    assert hers.get("audit").status_code == 403
    changed = api.send("PATCH", f"people/{vera.pk}", {"role": "admin", "language": "zh-hans"})
    assert (changed.json()["role"], changed.json()["language"]) == ("admin", "zh-hans")
    assert hers.get("audit").status_code == 200
    (event,) = events("user.update")
    assert event.before == {"role": "viewer", "language": ""}
    assert event.after == {"role": "admin", "language": "zh-hans"}
    assert event.object_id == str(vera.pk)


def test_a_superuser_who_is_made_a_viewer_is_one(api: Api) -> None:
    root = User.objects.create_superuser("root", password="x", role=Role.VIEWER)
    hers = Api(root)
    assert hers.get("audit").status_code == 200
    assert api.send("PATCH", f"people/{root.pk}", {"role": "viewer"}).status_code == 200
    root.refresh_from_db()
    assert (root.is_superuser, root.is_staff) == (False, False)
    assert hers.get("audit").status_code == 403


def test_nobody_takes_their_own_rights_away(api: Api, admin: User) -> None:
    make_user(Role.ADMIN, "another")
    demote = api.send("PATCH", f"people/{admin.pk}", {"role": "viewer"})
    assert code(demote, 409) == "own_account"
    assert code(api.post(f"people/{admin.pk}/deactivate", {}), 409) == "own_account"
    assert code(api.post(f"people/{admin.pk}/reset-password", {}), 409) == "own_account"
    admin.refresh_from_db()
    assert (admin.role, admin.is_active) == (Role.ADMIN, True)
    renamed = api.send("PATCH", f"people/{admin.pk}", {"first_name": "Olga", "role": "admin"})
    assert renamed.json()["first_name"] == "Olga"


def test_deactivation_ends_sessions_and_tokens_and_can_be_undone(api: Api) -> None:
    vera = make_user(Role.OPERATOR, "vera")
    hers = Api(vera)
    _token, secret = create_token(
        actor=actor_for(vera), name="t", role=Role.OPERATOR, expires_at=None
    )
    script = Client(headers={"Authorization": f"Bearer {secret}"})
    assert api.get(f"people/{vera.pk}").json()["token_count"] == 1
    kept = api.post(f"people/{vera.pk}/deactivate", {"revoke_tokens": False})
    assert kept.json()["is_active"] is False
    assert hers.get("me").status_code == 401
    assert script.get("/api/v1/me").status_code == 401
    assert api.post(f"people/{vera.pk}/reactivate").json()["is_active"] is True
    assert script.get("/api/v1/me").status_code == 200
    api.post(f"people/{vera.pk}/deactivate", {})
    api.post(f"people/{vera.pk}/deactivate", {})
    api.post(f"people/{vera.pk}/reactivate")
    assert script.get("/api/v1/me").status_code == 401
    assert ApiToken.objects.get().revoked_at is not None
    assert [event.after for event in events("user.deactivate")] == [
        {"revoked_tokens": 0},
        {"revoked_tokens": 1},
    ]


def test_a_reset_password_ends_sessions_and_must_be_changed(api: Api) -> None:
    vera = make_user(Role.VIEWER, "vera")
    hers = Api(vera)
    assert hers.get("me").status_code == 200
    answer = api.post(f"people/{vera.pk}/reset-password", {"revoke_tokens": True})
    assert answer["Cache-Control"] == "no-store, private"
    assert hers.get("me").status_code == 401
    client, signed = sign_in("vera", answer.json()["password"])
    assert signed.status_code == 200
    assert code(client.get("/api/v1/hosts"), 403) == "password_change_required"
    assert len(events("user.reset_password")) == 1
    assert answer.json()["password"] not in str(list(AuditEvent.objects.values()))


def test_lists_are_narrowed_and_unknown_filters_refused(api: Api) -> None:
    vera = make_user(Role.VIEWER, "vera")
    User.objects.filter(pk=vera.pk).update(email="v@example.org", is_active=False)

    def names(**query: Any) -> list[str]:
        return [row["username"] for row in api.get("people", **query).json()["results"]]

    assert names() == ["the-admin", "vera"]
    assert names(role="viewer") == names(search="EXAMPLE") == names(is_active="false") == ["vera"]
    assert names(username="vera") == ["vera"]
    assert names(username="ver") == []
    assert code(api.get("people", name="vera"), 400) == "invalid_request"


@pytest.mark.parametrize("person", ["0", "99999", "9" * 40])
def test_who_is_not_there_is_not_found(api: Api, person: str) -> None:
    assert api.get(f"people/{person}").status_code == 404
    assert api.send("PATCH", f"people/{person}", {"role": "viewer"}).status_code == 404
    assert api.post(f"people/{person}/deactivate", {}).status_code == 404


def test_nobody_is_deleted(api: Api) -> None:
    vera = make_user(Role.VIEWER, "vera")
    assert api.send("DELETE", f"people/{vera.pk}").status_code == 405
