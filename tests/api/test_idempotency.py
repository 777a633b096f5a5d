"""``Idempotency-Key``: done once, answered the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from django.db import connection
from django.utils import timezone
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate

from devops_manager.access.door import Guarded
from devops_manager.access.idempotency import sweep_idempotency_keys
from devops_manager.access.models import IdempotencyKey, Role, User
from devops_manager.access.permissions import READERS
from devops_manager.lib.errors import LimitReached
from hosts_app.models import HostGroup
from tests.task_factories import make_user

pytestmark = pytest.mark.django_db


class Make(Guarded):
    """Makes a group; fails on demand, after having made it."""

    permissions: ClassVar[dict[str, frozenset[Role]]] = {"post": READERS}
    bodies = frozenset({"post"})
    failures: ClassVar[list[Exception]] = []
    entered: ClassVar[threading.Event | None] = None
    go_on: ClassVar[threading.Event | None] = None

    def post(self, request: Any) -> Response:
        group = HostGroup.objects.create(name=request.data["name"])
        if self.entered and self.go_on:
            self.entered.set()
            assert self.go_on.wait(10)
        if self.failures:
            raise self.failures.pop()
        return Response({"id": group.pk}, status=201, headers={"Location": f"/groups/{group.pk}"})


@pytest.fixture
def user() -> User:
    return make_user()


def post(user: User, name: str, key: str | None = "k-1", path: str = "/make") -> Any:
    headers = {} if key is None else {"Idempotency-Key": key}
    request = APIRequestFactory().post(path, {"name": name}, format="json", headers=headers)
    force_authenticate(request, user)
    response = Make.as_view()(request)
    return response if not hasattr(response, "render") else response.render()


def test_the_same_request_is_done_once_and_answered_the_same(user: User) -> None:
    first, second = post(user, "a"), post(user, "a")
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.content == first.content
    assert second["Content-Type"] == "application/json"
    assert second["Location"] == first["Location"]
    assert "Idempotency-Replayed" not in first
    assert second["Idempotency-Replayed"] == "true"
    assert HostGroup.objects.count() == 1


def test_without_a_key_every_request_counts(user: User) -> None:
    post(user, "a", key=None)
    post(user, "b", key=None)
    assert HostGroup.objects.count() == 2
    assert not IdempotencyKey.objects.exists()


def test_another_request_under_a_known_key_is_refused(user: User) -> None:
    post(user, "a")
    for response in (post(user, "b"), post(user, "a", path="/other")):
        assert response.status_code == 409
        assert response.data["code"] == "idempotency_key_reused"
        assert "Idempotency-Key" in response.data["errors"]
    assert HostGroup.objects.count() == 1


def test_keys_of_different_people_are_different(user: User) -> None:
    assert post(user, "a").status_code == 201
    assert post(make_user(name="another"), "b").status_code == 201


@pytest.mark.parametrize("key", ["", " ", "x" * 201, "with space", "tab\t"])
def test_a_key_that_is_none_is_refused(user: User, key: str) -> None:
    response = post(user, "a", key=key)
    assert response.status_code == 400
    assert list(response.data["errors"]) == ["Idempotency-Key"]


def test_a_failure_undoes_its_work_and_frees_the_key(user: User) -> None:
    Make.failures.append(LimitReached("full", code="queue_full"))
    assert post(user, "a").status_code == 429
    assert not HostGroup.objects.exists()
    assert post(user, "b").status_code == 201
    Make.failures.append(KeyError("a defect"))
    with pytest.raises(KeyError):
        post(user, "c", key="k-2")
    assert post(user, "c", key="k-2").status_code == 201


def test_keys_are_forgotten_after_a_day(user: User) -> None:
    post(user, "a")
    post(user, "b", key="k-2")
    old = timezone.now() - timedelta(days=1, seconds=1)
    IdempotencyKey.objects.filter(key="k-1").update(created_at=old)
    assert sweep_idempotency_keys() == 1
    assert IdempotencyKey.objects.get().key == "k-2"


@contextmanager
def first_at_work(user: User) -> Iterator[list[Any]]:
    """A first request that has made its group and goes on at the end; yields its answers."""
    entered, go_on = threading.Event(), threading.Event()
    Make.entered, Make.go_on = entered, go_on
    answers: list[Any] = []

    def first() -> None:
        try:
            answers.append(post(user, "a"))
        finally:
            connection.close()

    thread = threading.Thread(target=first)
    thread.start()
    try:
        assert entered.wait(10)
        Make.entered = None
        yield answers
    finally:
        go_on.set()
        thread.join(10)
        Make.entered = Make.go_on = None


@pytest.mark.django_db(transaction=True)
def test_a_second_request_meets_the_first_at_work(user: User) -> None:
    with first_at_work(user) as answers:
        busy = post(user, "a")
        assert (busy.status_code, busy.data["code"]) == (409, "idempotency_in_progress")
        assert busy["Retry-After"] == "1"
        assert post(user, "b", key="k-2").status_code == 201
        assert post(make_user(name="another"), "c").status_code == 201
    assert answers[0].status_code == 201
    assert post(user, "a").content == answers[0].content
    assert HostGroup.objects.count() == 3


@pytest.mark.django_db(transaction=True)
def test_many_who_ask_for_the_answer_at_once_all_get_it(user: User) -> None:
    first = post(user, "a")
    barrier = threading.Barrier(6)

    def ask() -> list[Any]:
        try:
            barrier.wait(10)
            return [post(user, "a").content for _ in range(20)]
        finally:
            connection.close()

    with ThreadPoolExecutor(6) as threads:
        asked = [threads.submit(ask) for _ in range(6)]
    assert {content for one in asked for content in one.result()} == {first.content}


@pytest.mark.django_db(transaction=True)
def test_the_key_of_a_request_that_died_is_free_at_once(user: User) -> None:
    with first_at_work(user) as answers:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND state = 'idle in transaction'"
                " AND pid <> pg_backend_pid()"
            )
            assert cursor.fetchall() == [(True,)]
        assert post(user, "a").status_code == 201
    assert answers[0].status_code == 503
    assert post(user, "a")["Idempotency-Replayed"] == "true"
    assert HostGroup.objects.count() == 1
