"""The commands of a first start: an administrator with a token, and an enrolment token."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from agents_app.models import EnrollmentToken
from devops_manager.access.models import ApiToken, AuditEvent, Role, User

pytestmark = pytest.mark.django_db
PASSWORD = "three-plain-words"


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DM_ADMIN_PASSWORD", PASSWORD)


def first_admin(*options: str) -> dict[str, Any]:
    output = StringIO()
    call_command("first_admin", "admin", *options, stdout=output)
    answer: dict[str, Any] = json.loads(output.getvalue())
    return answer


def test_the_first_run_makes_an_administrator_with_a_token() -> None:
    answer = first_admin()
    user = User.objects.get(username="admin")
    assert (user.role, user.is_superuser) == (Role.ADMIN, True)
    assert user.check_password(PASSWORD)
    assert answer["password_is_current"] is True
    assert ApiToken.objects.get(owner=user).role == Role.ADMIN
    actions = set(AuditEvent.objects.values_list("action", flat=True))
    assert actions == {"user.create", "token.create"}


def test_a_second_run_replaces_the_token_only() -> None:
    first = first_admin()
    second = first_admin()
    assert first["token"] != second["token"]
    assert User.objects.count() == 1
    assert ApiToken.objects.filter(revoked_at=None).count() == 1


def test_a_password_that_a_person_changed_stays() -> None:
    first_admin()
    user = User.objects.get(username="admin")
    user.set_password("something else entirely")
    user.save()
    assert first_admin()["password_is_current"] is False
    user.refresh_from_db()
    assert user.check_password("something else entirely")


def test_no_token_unless_wanted() -> None:
    assert first_admin("--no-token")["token"] == ""
    assert not ApiToken.objects.exists()


def test_without_a_password_nothing_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DM_ADMIN_PASSWORD")
    with pytest.raises(CommandError, match="Set DM_ADMIN_PASSWORD"):
        first_admin()
    assert not User.objects.exists()


def test_an_enrolment_token_is_printed_or_kept_in_a_private_file(tmp_path: Path) -> None:
    output = StringIO()
    call_command("new_enrollment_token", "printed", stdout=output)
    assert output.getvalue().startswith("dme_")
    path = tmp_path / "token"
    for _time in range(2):
        call_command("new_enrollment_token", "kept", "--file", str(path), stdout=StringIO())
    assert path.read_text().startswith("dme_")
    assert path.stat().st_mode & 0o777 == 0o600
    assert EnrollmentToken.objects.filter(name="kept", auto_approve=False).count() == 1
