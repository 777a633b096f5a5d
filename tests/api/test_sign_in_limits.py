"""Wrong passwords: how many are taken, from whom, for how long, and what the trail says of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.conf import settings
from django.db import connection
from django.test import Client, override_settings

from devops_manager.access import bounded_audit
from devops_manager.access.models import AuditCount, AuditEvent, Role, User
from tests.pages_world import html

pytestmark = pytest.mark.django_db
PASSWORD = "correct horse battery"
LIMIT = settings.AXES_FAILURE_LIMIT


def person(name: str = "admin") -> User:
    return User.objects.create_user(name, password=PASSWORD, role=Role.ADMIN)


def try_in(address: str, name: str = "admin", password: str = "wrong", client: Any = None) -> Any:
    return (client or Client()).post(
        "/api/v1/auth/login",
        {"username": name, "password": password},
        content_type="application/json",
        REMOTE_ADDR=address,
    )


def lock(address: str = "192.0.2.1", name: str = "admin") -> None:
    statuses = [try_in(address, name).status_code for _ in range(LIMIT)]
    assert statuses == [401] * (LIMIT - 1) + [429]


def pass_time(seconds: float) -> None:
    """Move what was counted into the past."""
    with connection.cursor() as cursor:
        for table, column in (("axes_accessattempt", "attempt_time"), ("audit_counts", "since")):
            cursor.execute(
                f"UPDATE {table} SET {column} = {column} - make_interval(secs => %s)", [seconds]
            )


def test_a_name_is_locked_from_that_address_and_from_no_other() -> None:
    person()
    lock()
    assert try_in("192.0.2.1", password=PASSWORD).status_code == 429
    assert try_in("192.0.2.2", password=PASSWORD).status_code == 200
    assert try_in("2001:db8::1", password=PASSWORD).status_code == 200


def test_a_lock_is_not_renewed_by_further_tries() -> None:
    person()
    lock()
    waits = []
    for _ in range(6):
        pass_time(140)
        answer = try_in("192.0.2.1")
        assert answer.status_code == 429
        waits.append(int(answer["Retry-After"]))
    assert waits == sorted(waits, reverse=True)
    assert waits[-1] <= 60
    pass_time(61)
    assert try_in("192.0.2.1", password=PASSWORD).status_code == 200


def test_failures_long_past_do_not_count() -> None:
    person()
    for _ in range(LIMIT - 1):
        assert try_in("192.0.2.1").status_code == 401
    pass_time(901)
    assert [try_in("192.0.2.1").status_code for _ in range(LIMIT - 1)] == [401] * (LIMIT - 1)


def test_a_slow_count_ends_with_its_time() -> None:
    """One failure every two minutes is not one lock for ever."""
    person()
    for _ in range(3 * LIMIT):
        pass_time(120)
        assert try_in("192.0.2.1").status_code == 401


def test_a_success_begins_anew() -> None:
    person()
    for _ in range(3):
        for _ in range(LIMIT - 1):
            assert try_in("192.0.2.1").status_code == 401
        assert try_in("192.0.2.1", password=PASSWORD).status_code == 200
        pass_time(901)


def test_a_browser_that_was_here_before_is_not_locked_out_by_its_neighbors() -> None:
    """Nobody behind an address can keep an administrator out who signed in from there."""
    person()
    browser = Client()
    assert try_in("192.0.2.1", password=PASSWORD, client=browser).status_code == 200
    browser.cookies.pop("sessionid")
    lock()
    assert try_in("192.0.2.1", password=PASSWORD).status_code == 429
    assert try_in("192.0.2.1", password=PASSWORD, client=browser).status_code == 200
    # a stolen browser has its own limit, wherever it is
    statuses = [try_in(f"192.0.2.{at}", client=browser).status_code for at in range(LIMIT)]
    assert statuses == [401] * (LIMIT - 1) + [429]
    assert try_in("192.0.2.77", password=PASSWORD, client=browser).status_code == 429
    assert try_in("192.0.2.77", password=PASSWORD).status_code == 200


def test_a_known_browser_is_known_for_its_person_only() -> None:
    person()
    person("mallory")
    browser = Client()
    try_in("192.0.2.1", "mallory", PASSWORD, client=browser)
    lock()
    assert try_in("192.0.2.1", password=PASSWORD, client=browser).status_code == 429
    cookie = browser.cookies["dm_device"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    for forged in (cookie.value[:-1] + "x", "x", "", "[1]:x:y"):
        browser.cookies["dm_device"] = forged
        assert try_in("192.0.2.1", password=PASSWORD, client=browser).status_code == 429


@pytest.mark.parametrize(
    ("addresses", "other"),
    [
        (["192.0.2.1"], "192.0.2.2"),
        (["2001:db8::1", "2001:db8::2", "2001:db8::ffff:1"], "2001:db8:0:1::1"),
    ],
)
@override_settings(DM_LOGIN_ADDRESS_LIMIT=12)
def test_spraying_over_names_is_limited_by_address(addresses: list[str], other: str) -> None:
    person()
    statuses = [
        try_in(addresses[at % len(addresses)], f"name-{at}").status_code for at in range(13)
    ]
    assert statuses == [401] * 11 + [429] * 2
    assert try_in(addresses[0], password=PASSWORD).status_code == 429
    assert try_in(other, password=PASSWORD).status_code == 200
    event = AuditEvent.objects.get(action="user.lock_out")
    assert event.after == {"username": None, "by": ["address"]}


def test_the_old_password_is_limited_too() -> None:
    person()
    client = Client()
    assert try_in("192.0.2.1", password=PASSWORD, client=client).status_code == 200
    fields = {"new_password1": "a new one, longer", "new_password2": "a new one, longer"}

    def change(old: str) -> Any:
        return client.post("/password", {"old_password": old, **fields}, REMOTE_ADDR="192.0.2.1")

    statuses = [change("wrong").status_code for _ in range(LIMIT)]
    assert statuses == [200] * (LIMIT - 1) + [429]
    locked = change(PASSWORD)
    assert locked.status_code == 429
    assert "Too many wrong passwords" in html(locked)
    assert User.objects.get().check_password(PASSWORD)
    assert "wrong" not in str(list(AccessAttempt.objects.values()))
    pass_time(901)
    assert change(PASSWORD).status_code == 302
    assert User.objects.get().check_password(fields["new_password1"])


@pytest.mark.parametrize("path", ["/admin/login/", "/admin/password_change/", "/admin/logout/"])
def test_the_admin_has_no_door_of_its_own(path: str) -> None:
    person()
    client = Client()
    answer = client.post(path, {"username": "admin", "password": PASSWORD})
    assert answer.status_code in {302, 301}
    assert "_auth_user_id" not in client.session


def test_what_failed_is_audited_with_address_and_without_secrets() -> None:
    user = person()
    try_in("192.0.2.1")
    try_in("192.0.2.1", "hunter2-typed-as-a-name")
    known, unknown = AuditEvent.objects.filter(action="user.sign_in_failed").order_by("id")
    assert (known.object_id, known.source_ip) == (str(user.pk), "192.0.2.1")
    assert (known.actor, known.after) == ("(unknown)", {"username": "admin"})
    assert (unknown.object_id, unknown.after) == ("", {"username": None})
    lock("192.0.2.9")
    event = AuditEvent.objects.get(action="user.lock_out")
    assert (event.object_id, event.source_ip) == (str(user.pk), "192.0.2.9")
    assert event.after == {"username": "admin", "by": ["name"]}
    for secret in ("hunter2", "wrong"):
        assert secret not in str(list(AuditEvent.objects.values()))


@override_settings(DM_LOGIN_ADDRESS_LIMIT=100)
def test_the_trail_is_not_flooded() -> None:
    person()
    for at in range(20):
        try_in("192.0.2.1", f"name-{at}")
    try_in("192.0.2.2")
    events = AuditEvent.objects.filter(action="user.sign_in_failed")
    assert events.filter(source_ip="192.0.2.1").count() == bounded_audit.EVENTS_A_MINUTE
    assert events.filter(source_ip="192.0.2.2").count() == 1
    assert bounded_audit.write_counted_events() == 0
    pass_time(61)
    assert bounded_audit.write_counted_events() == 1
    counted = events.get(object_type="source")
    assert counted.after["further_events"] == 20 - bounded_audit.EVENTS_A_MINUTE
    assert counted.source_ip == "192.0.2.1"
    assert not AuditCount.objects.exists()
    assert bounded_audit.write_counted_events() == 0


@override_settings(DM_LOGIN_ADDRESS_LIMIT=100)
def test_the_next_minute_of_a_source_writes_the_count_of_the_last() -> None:
    person()
    for at in range(8):
        try_in("192.0.2.1", f"name-{at}")
    pass_time(61)
    try_in("192.0.2.1", "another")
    events = AuditEvent.objects.filter(action="user.sign_in_failed")
    assert events.get(object_type="source").after["further_events"] == 3
    assert events.count() == bounded_audit.EVENTS_A_MINUTE + 2


@override_settings(DM_LOGIN_LOCK_SECONDS=5, AXES_COOLOFF_TIME=timedelta(seconds=5))
def test_how_long_a_lock_lasts_is_a_setting() -> None:
    person()
    lock()
    assert int(try_in("192.0.2.1")["Retry-After"]) <= 5
    pass_time(6)
    assert try_in("192.0.2.1", password=PASSWORD).status_code == 200
