"""Who gets to see what, in which language, and under which content policy."""

from __future__ import annotations

import re
import uuid

import pytest
from django.db import connection
from django.test import Client, override_settings
from django.urls import reverse

from devops_manager.access.models import ApiToken, AuditEvent, Role, User
from devops_manager.access.services import create_token
from devops_manager.pages.urls import urlpatterns
from hosts_app.models import HostGroup
from tests.pages_world import html, visitor
from tests.queue_world import make_hosts, make_task
from tests.task_factories import actor_for, make_user

pytestmark = pytest.mark.django_db
OPEN_TO_ALL = {"icon", "login", "logout", "set_language"}
INLINE = re.compile(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", re.IGNORECASE)
ASCII_BESIDE_CHINESE = re.compile(r"[\u3400-\u9fff] ?[,;:?!()]|[,;:?!()] ?[\u3400-\u9fff]")
NO_ID = uuid.UUID(int=1)


def address(name: str) -> str:
    """Return the address of a page, with ids that nothing has."""
    pattern = next(one for one in urlpatterns if one.name == name)
    made_up = {"UUIDConverter": NO_ID, "IntConverter": 0}
    arguments = {
        key: made_up.get(type(converter).__name__, "hosts")
        for key, converter in pattern.pattern.converters.items()
    }
    return reverse(name, kwargs=arguments)


def words_of(text: str) -> str:
    """Return what a page shows, a line for each element."""
    return re.sub(
        r"<[^>]*>", "\n", re.sub(r"<(script|style|code|pre).*?</\1>", "", text, flags=re.S)
    )


@pytest.mark.parametrize("name", sorted({str(one.name) for one in urlpatterns} - OPEN_TO_ALL))
def test_a_stranger_is_asked_to_sign_in(name: str) -> None:
    for method in ("get", "post"):
        response = getattr(Client(), method)(address(name))
        assert response.status_code == 302
        assert response.url.startswith("/login?next=")


ACTS = {
    "task_new": {Role.OPERATOR, Role.ADMIN},
    "task_delete": {Role.OPERATOR, Role.ADMIN},
    "task_start": {Role.OPERATOR, Role.ADMIN},
    "task_stop": {Role.OPERATOR, Role.ADMIN},
    "task_cancel": {Role.OPERATOR, Role.ADMIN},
    "task_pick_hosts": {Role.OPERATOR, Role.ADMIN},
    "host_approve": {Role.APPROVER, Role.ADMIN},
    "host_reject": {Role.APPROVER, Role.ADMIN},
    "host_change": {Role.ADMIN},
    "host_disable": {Role.ADMIN},
    "host_enable": {Role.ADMIN},
    "host_release": {Role.ADMIN},
    "host_replace": {Role.ADMIN},
    "host_retire": {Role.ADMIN},
    "host_revoke": {Role.ADMIN},
    "host_unretire": {Role.ADMIN},
    "enrollment_tokens": {Role.ADMIN},
    "enrollment_token_revoke": {Role.ADMIN},
    "group_list": {Role.ADMIN},
    "group_change": {Role.ADMIN},
    "group_delete": {Role.ADMIN},
    "group_add_hosts": {Role.ADMIN},
    "group_remove_hosts": {Role.ADMIN},
    "group_grant": {Role.ADMIN},
    "group_revoke": {Role.ADMIN},
    "people": {Role.ADMIN},
    "person_change": {Role.ADMIN},
    "person_deactivate": {Role.ADMIN},
    "person_reactivate": {Role.ADMIN},
    "person_reset": {Role.ADMIN},
    "person_grant": {Role.ADMIN},
    "person_revoke": {Role.ADMIN},
}


@pytest.mark.parametrize("role", list(Role))
def test_each_role_may_do_what_is_its_own(role: Role) -> None:
    client = visitor(role)
    for name, roles in ACTS.items():
        refused = client.post(address(name)).status_code == 403
        assert refused == (role not in roles), name


@pytest.mark.parametrize("role", list(Role))
@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_pages_are_there_for_every_role_and_hold_nothing_inline(role: Role, language: str) -> None:
    (host,) = make_hosts(1)
    task = make_task([host], steps=2)
    group = HostGroup.objects.create(name="web")
    client = visitor(role)
    client.cookies["django_language"] = language
    pages = [
        "/", "/tasks", f"/tasks/{task.task_id}", f"/tasks/{task.task_id}/steps",
        f"/tasks/{task.task_id}/output", f"/tasks/{task.task_id}/trail", "/hosts",
        f"/hosts/{host.host_id}", "/tokens", "/password", "/groups", f"/groups/{group.group_id}",
    ]  # fmt: skip
    if role in {Role.OPERATOR, Role.ADMIN}:
        pages += ["/tasks/new", f"/tasks/new?copy={task.task_id}"]
    if role == Role.ADMIN:
        person = User.objects.get(username="the-admin")
        pages += ["/enrolment", f"/tasks/{task.task_id}/edit", "/people", f"/people/{person.pk}"]
    for page in pages:
        response = client.get(page)
        assert response.status_code == 200, page
        text = html(response)
        assert not INLINE.search(text), (page, INLINE.search(text))
        assert "default-src 'none'" in response["Content-Security-Policy"]
        assert "no-store" in response["Cache-Control"]
        assert f'lang="{language}"' in text
        if language == "zh-hans":
            assert not ASCII_BESIDE_CHINESE.findall(words_of(text)), page


def test_buttons_that_would_be_refused_are_not_shown() -> None:
    (host,) = make_hosts(1)
    task = make_task([host])
    text = html(visitor(Role.VIEWER).get(f"/tasks/{task.task_id}"))
    assert "/start" not in text
    assert "/tasks/new" not in text
    assert f"/tasks/{task.task_id}/start" in html(visitor().get(f"/tasks/{task.task_id}"))


def test_an_operator_does_not_start_the_task_of_another() -> None:
    (host,) = make_hosts(1)
    task = make_task([host])
    client = visitor(Role.OPERATOR)
    assert "/start" not in html(client.get(f"/tasks/{task.task_id}"))
    response = client.post(f"/tasks/{task.task_id}/start", follow=True)
    assert "Operators change only the tasks that they created." in html(response)
    task.refresh_from_db()
    assert task.status == "pending"


def sign_in(client: Client, password: str) -> object:
    return client.post("/login", {"username": "olga", "password": password})


def test_signing_in_and_out_is_audited_and_keeps_the_language() -> None:
    user = User(username="olga", language="zh-hans")
    user.set_password("correct horse")
    user.save()
    client = Client()
    assert "Sign in" in html(client.get("/login"))
    assert "alert" in html(sign_in(client, "wrong"))
    assert sign_in(client, "correct horse").url == "/"  # type: ignore[attr-defined]
    assert "概览" in html(client.get("/"))
    client.post("/logout")
    assert client.get("/").status_code == 302
    actions = list(AuditEvent.objects.order_by("id").values_list("action", flat=True))
    assert actions == ["user.sign_in_failed", "user.sign_in", "user.sign_out"]


@override_settings(AXES_FAILURE_LIMIT=2)
def test_too_many_wrong_passwords_lock_with_a_page_that_says_so() -> None:
    user = User(username="olga")
    user.set_password("correct horse")
    user.save()
    client = Client()
    for _ in range(2):
        response = sign_in(client, "wrong")
    assert response.status_code == 429  # type: ignore[attr-defined]
    assert "Too many wrong passwords" in html(response)
    assert sign_in(client, "correct horse").status_code == 429  # type: ignore[attr-defined]


def test_the_language_is_switched_and_remembered() -> None:
    client = visitor(name="olga")
    client.post("/language", {"language": "zh-hans", "next": "/tasks"})
    assert "新建任务" in html(client.get("/tasks"))
    assert User.objects.get(username="olga").language == "zh-hans"
    client.post("/language", {"language": "xx", "next": "/tasks"})
    assert "新建任务" in html(client.get("/tasks"))


def test_a_changed_password_is_audited() -> None:
    client = visitor(name="olga")
    user = User.objects.get(username="olga")
    user.set_password("old one, quite long")
    user.save()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    fields = {"new_password1": "a new one, longer", "new_password2": "a new one, longer"}
    wrong = client.post("/password", {"old_password": "no", **fields})
    assert "errors" in html(wrong)
    done = client.post("/password", {"old_password": "old one, quite long", **fields}, follow=True)
    assert "The password was changed." in html(done)
    assert AuditEvent.objects.filter(action="user.change_password").count() == 1


@pytest.mark.parametrize(("choice", "left"), [({}, 0), ({"tokens": "keep"}, 1)], ids=["", "keep"])
def test_a_changed_password_takes_the_tokens_along_unless_they_are_kept(
    choice: dict[str, str], left: int
) -> None:
    user = User.objects.create_user("olga", password="old one, quite long")
    create_token(actor=actor_for(user), name="mine", role=Role.VIEWER, expires_at=None)
    other = make_user(Role.VIEWER, "other")
    create_token(actor=actor_for(other), name="other", role=Role.VIEWER, expires_at=None)
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    assert '<option value="revoke">' in html(client.get("/password"))
    fields = {"new_password1": "a new one, longer", "new_password2": "a new one, longer"}
    sent = {"old_password": "old one, quite long", **fields, **choice}
    assert client.post("/password", sent).status_code == 302
    assert ApiToken.objects.filter(owner=user, revoked_at=None).count() == left
    assert ApiToken.objects.filter(owner=other, revoked_at=None).count() == 1
    event = AuditEvent.objects.get(action="user.change_password")
    assert event.after == {"revoked_tokens": 1 - left}


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_error_pages_speak_both_languages(language: str) -> None:
    client = visitor(Role.VIEWER)
    client.cookies["django_language"] = language
    missing = client.get(f"/tasks/{NO_ID}")
    assert missing.status_code == 404
    assert ("页面不存在" in html(missing)) == (language == "zh-hans")
    nowhere = client.get("/nowhere")
    assert nowhere.status_code == 404
    assert ("页面不存在" in html(nowhere)) == (language == "zh-hans")
    refused = client.get("/tasks/new")
    assert refused.status_code == 403
    assert ("无权" in html(refused)) == (language == "zh-hans")
    wrong = client.get("/tasks?page=zero")
    assert wrong.status_code == 400


def test_a_defect_is_answered_with_a_page_that_names_the_request() -> None:
    client = visitor()
    client.raise_request_exception = False
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_events RENAME TO audit_events_elsewhere")
    response = client.get(f"/tasks/{make_task(make_hosts(1)).task_id}/trail")
    assert response.status_code == 500
    assert response["X-Request-Id"] in html(response)


def test_a_forged_form_is_refused_with_a_page() -> None:
    client = Client(enforce_csrf_checks=True)
    response = client.post("/login", {"username": "a", "password": "b"})
    assert response.status_code == 403
    assert "The form was too old" in html(response)
