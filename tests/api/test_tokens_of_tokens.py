"""Case token-from-token: a stolen token can neither outlive itself nor look for others."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from agents_app.models import EnrollmentToken
from agents_app.services.enrollment import enroll
from devops_manager.access.models import ApiToken, AuditEvent, Role, User
from devops_manager.lib.errors import Forbidden
from tests.task_factories import Api, make_user

pytestmark = pytest.mark.django_db
SOON = timedelta(hours=1)


class Script:
    """Speaks to /api/v1 with a token."""

    def __init__(self, secret: str) -> None:
        self.client = Client(headers={"Authorization": f"Bearer {secret}"})

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self.client.post(f"/api/v1/{path}", body, content_type="application/json")

    def get(self, path: str) -> Any:
        return self.client.get(f"/api/v1/{path}")

    def delete(self, path: str) -> Any:
        return self.client.delete(f"/api/v1/{path}")


def made(user: User, **body: Any) -> tuple[Script, UUID]:
    answer = Api(user).post("tokens", {"name": "made", "role": user.role, **body})
    assert answer.status_code == 201, answer.content
    return Script(answer.json()["secret"]), UUID(answer.json()["token_id"])


def in_an_hour() -> str:
    return (timezone.now() + SOON).isoformat()


@pytest.mark.parametrize("role", list(Role))
def test_a_token_makes_lists_and_revokes_none(role: Role) -> None:
    script, token_id = made(make_user(role), expires_at=in_an_hour())
    answers = [
        script.post("tokens", {"name": "heir"}),
        script.get("tokens"),
        script.get("tokens?size=1"),
        script.delete(f"tokens/{token_id}"),
        script.delete(f"tokens/{UUID(int=1)}"),
    ]
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (403, "session_required")
    assert ApiToken.objects.filter(revoked_at=None).count() == 1
    assert script.get("me").status_code == 200


def test_a_token_made_for_it_makes_what_ends_with_it() -> None:
    script, token_id = made(make_user(), manages_tokens=True, expires_at=in_an_hour())
    answer = script.post("tokens", {"name": "heir", "role": "admin"})
    assert answer.status_code == 201
    heir = answer.json()
    maker = ApiToken.objects.get(token_id=token_id)
    assert heir["made_with"] == str(token_id)
    assert ApiToken.objects.get(token_id=heir["token_id"]).expires_at == maker.expires_at
    child = Script(heir["secret"])
    assert child.get("me").status_code == 200
    # the maker's time is over, however long its heir was to live
    ApiToken.objects.filter(token_id=heir["token_id"]).update(expires_at=None)
    ApiToken.objects.filter(pk=maker.pk).update(expires_at=timezone.now() - SOON)
    assert child.get("me").status_code == 401


@pytest.mark.parametrize("body", [{"expires_at": "2999-01-01T00:00:00Z"}, {"manages_tokens": True}])
def test_a_token_gives_no_more_than_it_has(body: dict[str, Any]) -> None:
    script, _id = made(make_user(), manages_tokens=True, expires_at=in_an_hour())
    answer = script.post("tokens", {"name": "heir", **body})
    assert (answer.status_code, set(answer.json()["errors"])) == (400, set(body))


def test_what_a_token_made_makes_nothing() -> None:
    script, _id = made(make_user(), manages_tokens=True)
    child = Script(script.post("tokens", {"name": "heir", "role": "admin"}).json()["secret"])
    assert child.post("tokens", {"name": "grandchild"}).status_code == 403


def test_revoking_a_token_takes_what_it_made_along() -> None:
    user = make_user()
    script, token_id = made(user, manages_tokens=True)
    child = Script(script.post("tokens", {"name": "heir"}).json()["secret"])
    assert Api(user).send("DELETE", f"tokens/{token_id}").status_code == 204
    assert script.get("me").status_code == child.get("me").status_code == 401
    assert not ApiToken.objects.filter(revoked_at=None).exists()
    assert AuditEvent.objects.filter(action="token.revoke").count() == 2


def test_a_managing_token_revokes_itself_and_sees_only_its_owners() -> None:
    made(make_user(Role.VIEWER, "other"))
    script, token_id = made(make_user(Role.OPERATOR), manages_tokens=True)
    assert [one["token_id"] for one in script.get("tokens").json()["results"]] == [str(token_id)]
    assert script.delete(f"tokens/{token_id}").status_code == 204
    assert script.get("me").status_code == 401


@pytest.mark.django_db(transaction=True)
def test_a_maker_that_is_being_revoked_makes_nothing_more() -> None:
    """Whichever comes first: afterwards neither the maker nor anything of it is good."""
    user = make_user()
    script, token_id = made(user, manages_tokens=True)
    api, answers = Api(user), []

    def make() -> None:
        answers.extend(script.post("tokens", {"name": "heir"}) for _ in range(5))
        connection.close()

    makers = [threading.Thread(target=make) for _ in range(3)]
    for thread in makers:
        thread.start()
    assert api.send("DELETE", f"tokens/{token_id}").status_code == 204
    for thread in makers:
        thread.join()
    assert {answer.status_code for answer in answers} <= {201, 401}
    for answer in answers:
        if answer.status_code == 201:
            assert Script(answer.json()["secret"]).get("me").status_code == 401


def machine(token: str, name: str = "m") -> str:
    return str(
        enroll(
            token=token, hostname="web-1", os="", arch="", machine_id=name, agent_version="",
            ip=None, facts={}, source_ip=None,
        ).status
    )  # fmt: skip


def test_an_enrollment_token_ends_with_the_token_that_made_it() -> None:
    user = make_user()
    script, token_id = made(user, expires_at=in_an_hour())
    late = script.post("enrollment-tokens", {"name": "x", "expires_at": "2999-01-01T00:00:00Z"})
    assert (late.status_code, set(late.json()["errors"])) == (400, {"expires_at"})
    for body in ({}, {"expires_at": None}):
        answer = script.post("enrollment-tokens", {"name": "fleet", **body}).json()
        assert EnrollmentToken.objects.get(token_id=answer["token_id"]).expires_at == (
            ApiToken.objects.get().expires_at
        )
    assert machine(answer["secret"]) == "pending"
    Api(user).send("DELETE", f"tokens/{token_id}")
    with pytest.raises(Forbidden):
        machine(answer["secret"], "another")


def test_an_enrollment_token_is_bounded_unless_somebody_says_otherwise() -> None:
    api = Api(make_user())
    usual = api.post("enrollment-tokens", {"name": "usual"}).json()
    assert usual["max_uses"] == 100
    token = EnrollmentToken.objects.get()
    assert token.expires_at is not None
    assert timedelta(hours=23) < token.expires_at - timezone.now() <= timedelta(hours=24)
    said = {"name": "said", "max_uses": None, "expires_at": None}
    other = api.post("enrollment-tokens", said).json()
    assert (other["max_uses"], other["expires_at"]) == (None, None)
    assert AuditEvent.objects.filter(action="enrollment_token.create").count() == 2
