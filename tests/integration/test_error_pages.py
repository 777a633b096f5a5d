"""Error pages: the whole menu and the language of whoever asks, and a page whatever is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.http import HttpRequest
from django.test import Client, RequestFactory, override_settings
from django.utils import translation
from psycopg import OperationalError

from devops_manager.access.models import Role, User
from devops_manager.pages import error_pages
from devops_manager.pages.gate import draw_error
from tests.pages_world import html, visitor
from tests.queue_world import make_hosts, make_task

pytestmark = pytest.mark.django_db
MENU = 'aria-label="Main"'
SWITCH = 'action="/language"'


def not_understood(client: Client) -> Any:
    return client.get("/tasks?page=zero")


def forbidden(client: Client) -> Any:
    return client.get("/people")


def nowhere(client: Client) -> Any:
    return client.get("/nowhere")


def gone(client: Client) -> Any:
    return client.get("/tasks/00000000-0000-0000-0000-000000000001")


def wrong_method(client: Client) -> Any:
    return client.get("/hosts/approve")


def too_large(client: Client) -> Any:
    with override_settings(DATA_UPLOAD_MAX_MEMORY_SIZE=100):
        return client.post("/tokens", {"name": "x" * 200})


def too_many_fields(client: Client) -> Any:
    return client.post("/tokens", {f"f{at}": "x" for at in range(1001)})


def forged(client: Client) -> Any:
    client.handler.enforce_csrf_checks = True
    return client.post("/tokens", {"name": "x"})


def too_long(client: Client) -> Any:
    return client.get("/tasks?name=" + "x" * 5000)


def with_nul(client: Client) -> Any:
    return client.get("/tasks?name=%00")


def form_with_nul(client: Client) -> Any:
    return client.post("/tokens", {"name": "a\0b"})


ERRORS: list[tuple[Callable[[Client], Any], int]] = [
    (not_understood, 400),
    (forbidden, 403),
    (forged, 403),
    (nowhere, 404),
    (gone, 404),
    (wrong_method, 405),
    (too_large, 413),
    (too_many_fields, 413),
    (too_long, 414),
    (with_nul, 400),
    (form_with_nul, 400),
]


@pytest.mark.parametrize(("cause", "status"), ERRORS, ids=lambda one: getattr(one, "__name__", one))
@pytest.mark.parametrize("language", ["en", "zh-hans"])
@pytest.mark.parametrize("by", ["person", "cookie", "browser"])
def test_an_error_page_has_the_menu_and_the_language(
    cause: Callable[[Client], Any], status: int, language: str, by: str
) -> None:
    client = visitor(Role.OPERATOR)
    other = {"en": "zh-hans", "zh-hans": "en"}[language]
    if by == "person":
        User.objects.update(language=language)
        client.cookies["django_language"] = other
    elif by == "cookie":
        client.cookies["django_language"] = language
        client.defaults["HTTP_ACCEPT_LANGUAGE"] = other
    else:
        client.defaults["HTTP_ACCEPT_LANGUAGE"] = language
    response = cause(client)
    text = html(response)
    assert response.status_code == status
    assert f'<html lang="{language}">' in text
    assert response["Content-Language"] == language
    assert text.count(MENU.replace("Main", {"en": "Main", "zh-hans": "主导航"}[language])) == 1
    assert 'href="/groups"' in text
    assert SWITCH in text
    assert "the-operator" in text
    assert f">{status}<" in text
    assert "default-src 'none'" in response["Content-Security-Policy"]
    assert "no-store" in response["Cache-Control"]


@pytest.mark.parametrize(("cause", "status"), ERRORS[3:4] + ERRORS[2:3], ids=["nowhere", "forged"])
def test_a_stranger_gets_no_menu_and_the_switch(
    cause: Callable[[Client], Any], status: int
) -> None:
    response = cause(Client())
    text = html(response)
    assert response.status_code == status
    assert MENU not in text
    assert SWITCH in text


def test_the_switch_leads_back_where_a_page_is() -> None:
    client = visitor(Role.VIEWER)
    assert 'name="next" value="/nowhere?a=1"' in html(client.get("/nowhere?a=1"))
    refused = html(client.post("/hosts/approve"))
    assert 'name="next" value="/"' in refused
    assert client.get("/hosts/approve")["Allow"] == "POST"


def test_messages_wait_for_the_next_page() -> None:
    client = visitor()
    client.post("/hosts/reject")
    assert "Tick at least one host." not in html(client.get("/nowhere"))
    assert "Tick at least one host." in html(client.get("/hosts"))


@override_settings(AXES_FAILURE_LIMIT=1)
def test_a_lock_out_keeps_menu_and_language() -> None:
    client = visitor(Role.VIEWER)
    client.cookies["django_language"] = "zh-hans"
    response = client.post("/login", {"username": "somebody", "password": "wrong"})
    text = html(response)
    assert response.status_code == 429
    assert '<html lang="zh-hans">' in text
    assert 'aria-label="主导航"' in text
    assert SWITCH in text


def test_a_defect_keeps_the_menu() -> None:
    client = visitor(Role.VIEWER)
    client.raise_request_exception = False
    task = make_task(make_hosts(1))
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE audit_events RENAME TO audit_events_elsewhere")
    response = client.get(f"/tasks/{task.task_id}/trail")
    assert response.status_code == 500
    assert MENU in html(response)
    assert response["X-Request-Id"] in html(response)


def test_a_host_name_that_is_not_ours_is_refused_in_the_askers_language() -> None:
    translation.activate("en")
    response = Client(headers={"Accept-Language": "zh-hans"}).get("/", HTTP_HOST="elsewhere.test")
    assert response.status_code == 400
    assert '<html lang="zh-hans">' in html(response)


class NoDatabase:
    """Refuses every statement, as a database that went away does."""

    def __call__(self, *_args: object) -> object:
        raise OperationalError("the database went away")


def request_of(user: User | None) -> HttpRequest:
    """Return a request with a session, as middleware leaves it; the user may be known already."""
    request = RequestFactory().get("/tasks", headers={"Accept-Language": "zh-hans"})
    request.COOKIES[settings.SESSION_COOKIE_NAME] = "k" * 32
    if user is not None:
        request.user = request._cached_user = user  # type: ignore[attr-defined]
    return request


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("answer", ["503", "500"])
def test_a_page_comes_without_a_database_with_what_is_known(known: bool, answer: str) -> None:
    user = User(username="olga", role=Role.ADMIN, language="zh-hans") if known else None
    request = request_of(user)
    with connection.execute_wrapper(NoDatabase()):
        if answer == "503":
            middleware = error_pages.ErrorPagesMiddleware(lambda _request: None)  # type: ignore[arg-type,return-value]
            response = middleware.process_exception(request, OperationalError("away"))
            assert response is not None
            assert int(response["Retry-After"]) > 0
        else:
            response = error_pages.server_error(request)
    assert response.status_code == int(answer)
    text = html(response)
    assert '<html lang="zh-hans">' in text
    assert ("olga" in text) == known
    assert ('href="/people"' in text) == known


def test_a_session_that_cannot_be_read_does_not_cost_the_page() -> None:
    client = visitor(Role.VIEWER)
    client.raise_request_exception = False
    cache.clear()
    with connection.execute_wrapper(NoDatabase()):
        response = client.get("/nowhere")
    assert response.status_code == 404
    assert "There is no such page" in html(response)


def test_a_page_comes_when_who_asks_cannot_be_found_out() -> None:
    class Broken:
        @property
        def user(self) -> User:
            raise ValueError("a defect")

    request = request_of(None)
    request.__class__ = type("BrokenRequest", (Broken, request.__class__), {})
    response = draw_error(request, 500)
    assert response.status_code == 500
    assert "500" in html(response)
