"""What was written into the form of a task is not lost to an ended session or an old token."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.core import signing
from django.test import Client

from devops_manager.access.models import Role, User
from tasks_app.models import Task
from tests.pages_world import html, task_form, visitor
from tests.queue_world import make_hosts

pytestmark = pytest.mark.django_db
PASSWORD = "a quite long password"
OURS = {"Sec-Fetch-Site": "same-origin"}
TEXT = "\n\techo 'a' <b> &amp; 你好\n\n"


def written() -> dict[str, Any]:
    return task_form(*make_hosts(1), act="save-start", **{"s0-body": TEXT, "name": "long work"})


def fields_of(text: str) -> dict[str, str]:
    """Return what the page that gives back would send."""
    areas = re.findall(r'<textarea name="([^"]+)" hidden>\n(.*?)</textarea>', text, re.DOTALL)
    return {name: unescape(value) for name, value in areas}


def person() -> User:
    user = User(username="olga", role=Role.ADMIN)
    user.set_password(PASSWORD)
    user.save()
    return user


@pytest.mark.parametrize("address", ["/tasks/new", "/tasks/new?copy=x"])
def test_a_form_sent_without_a_session_comes_back_after_the_sign_in(address: str) -> None:
    person()
    client = Client()
    form = written()
    page = client.post(address, form, headers=OURS)
    assert page.status_code == 401
    kept = re.search(r'name="kept" value="([^"]+)"', html(page))
    assert kept is not None
    assert "no-store" in page["Cache-Control"]
    wrong = client.post("/login", {"username": "olga", "password": "no", "kept": kept[1]})
    assert kept[1] in html(wrong)
    back = client.post("/login", {"username": "olga", "password": PASSWORD, "kept": kept[1]})
    assert back.status_code == 200
    text = html(back)
    assert f'action="{address}"' in text
    fields = fields_of(text)
    assert fields["s0-body"] == TEXT
    assert "csrfmiddlewaretoken" not in fields
    assert "act" not in fields
    again = html(client.post("/tasks/new", fields | {"act": "stay"}))
    assert "long work" in again
    assert 'data-unsaved="yes"' in again
    assert not Task.objects.exists()


def test_an_old_token_gives_the_form_back() -> None:
    user = person()
    client = Client(enforce_csrf_checks=True)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    page = client.post("/tasks/new", written(), headers=OURS)
    assert page.status_code == 403
    assert fields_of(html(page))["s0-body"] == TEXT
    assert not Task.objects.exists()


def test_an_old_token_without_a_session_asks_for_the_sign_in() -> None:
    page = Client(enforce_csrf_checks=True).post("/tasks/new", written(), headers=OURS)
    assert page.status_code == 403
    assert 'name="kept"' in html(page)


@pytest.mark.parametrize(
    "headers",
    [{}, {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"},
     {"Origin": "https://evil.example"}],
)  # fmt: skip
def test_nobody_elses_words_come_into_a_form(headers: dict[str, str]) -> None:
    user = person()
    client = Client(enforce_csrf_checks=True)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    page = client.post("/tasks/new", written(), headers=headers)
    assert page.status_code == 403
    assert "long work" not in html(page)
    assert Client().post("/tasks/new", written(), headers=headers).status_code == 302


def test_what_was_not_packed_here_is_not_given_back() -> None:
    person()
    forged = signing.dumps({"path": "https://evil.example", "fields": []}, salt="other")
    for kept in (forged, "x", "x:y:z"):
        sent = {"username": "olga", "password": PASSWORD, "kept": kept}
        assert Client().post("/login", sent).status_code == 302


def test_other_forms_are_refused_as_ever() -> None:
    user = person()
    client = Client(enforce_csrf_checks=True)
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    page = client.post("/tokens", {"name": "x"}, headers=OURS)
    assert page.status_code == 403
    assert "The form was too old" in html(page)


def test_a_part_of_a_form_is_not_replaced_by_the_sign_in_page() -> None:
    answer = Client().post("/tasks/new", written(), headers={**OURS, "HX-Request": "true"})
    assert answer.status_code == 401
    assert not answer.content


def test_a_form_that_came_back_from_the_server_is_unsaved() -> None:
    client = visitor()
    assert 'data-unsaved="no"' in html(client.get("/tasks/new"))
    assert 'data-unsaved="yes"' in html(client.post("/tasks/new", written() | {"name": ""}))
