"""The pages of people and of groups, for an administrator who is neither staff nor superuser."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from devops_manager.access.models import ApiToken, AuditEvent, Role, User
from devops_manager.access.services import create_token
from hosts_app.models import Host, HostGroup, HostGroupGrant, HostGroupMember
from tasks_app.models import Task
from tests.pages_world import html, visitor
from tests.queue_world import make_hosts
from tests.task_factories import actor_for, grant, make_user

pytestmark = pytest.mark.django_db
PERSON = {"username": "vera", "role": "operator", "language": "", "password": ""}


@pytest.fixture
def admin() -> Client:
    return visitor()


def shown_password(text: str) -> str:
    found = re.search(r'id="password">([^<]+)<', text)
    assert found
    return found[1]


def test_a_person_is_added_and_the_password_shown_once(admin: Client) -> None:
    made = admin.post("/people", PERSON)
    assert made.status_code == 201
    password = shown_password(html(made))
    assert password not in html(admin.get("/people"))
    vera = User.objects.get(username="vera")
    assert (vera.role, vera.must_change_password) == (Role.OPERATOR, True)
    hers = Client()
    assert hers.post("/login", {"username": "vera", "password": password}).status_code == 302
    page = html(hers.get("/", follow=True))
    assert "Somebody else knows your password." in page
    assert 'aria-label="Main"' not in page
    assert "Sign out" in page


def test_a_person_that_cannot_be_added_keeps_what_was_typed(admin: Client) -> None:
    refused = admin.post("/people", {**PERSON, "username": "the-ADMIN", "email": "nonsense"})
    assert refused.status_code == 400
    assert 'value="nonsense"' in html(refused)
    taken = admin.post("/people", {**PERSON, "username": "the-ADMIN"})
    assert "Taken." in html(taken)
    weak = admin.post("/people", {**PERSON, "password": "123"})
    assert 'id="id_password-errors"' in html(weak)
    assert User.objects.count() == 1


def test_a_role_language_and_name_are_changed(admin: Client) -> None:
    vera = make_user(Role.VIEWER, "vera")
    form = {"role": "approver", "language": "zh-hans", "first_name": "Vera", "is_staff": "on"}
    answer = admin.post(f"/people/{vera.pk}/change", form)
    assert answer.status_code == 302
    vera.refresh_from_db()
    assert (vera.role, vera.language, vera.first_name) == ("approver", "zh-hans", "Vera")
    assert not vera.is_staff
    page = html(admin.get(f"/people/{vera.pk}"))
    assert "Changed the person" in page
    hers = Client()
    hers.force_login(vera, backend="django.contrib.auth.backends.ModelBackend")
    assert 'lang="zh-hans"' in html(hers.get("/hosts"))


def test_the_language_of_the_person_comes_before_the_cookies(admin: Client) -> None:
    User.objects.update(language="zh-hans")
    admin.cookies["django_language"] = "en"
    assert 'lang="zh-hans"' in html(admin.get("/hosts"))
    assert 'lang="zh-hans"' in html(admin.get("/nowhere"))


def test_a_new_password_is_shown_once_and_tokens_are_asked_about(admin: Client) -> None:
    vera = make_user(Role.OPERATOR, "vera")
    create_token(actor=actor_for(vera), name="t", role=Role.OPERATOR, expires_at=None)
    assert "Also revoke 1 API token for good" in html(admin.get(f"/people/{vera.pk}"))
    shown = admin.post(f"/people/{vera.pk}/reset", {"password": ""})
    vera.refresh_from_db()
    assert vera.check_password(shown_password(html(shown)))
    assert ApiToken.objects.get().revoked_at is None
    admin.post(f"/people/{vera.pk}/reset", {"password": "", "revoke_tokens": "on"})
    assert ApiToken.objects.get().revoked_at is not None


def test_an_account_is_deactivated_and_reactivated(admin: Client) -> None:
    vera = make_user(Role.OPERATOR, "vera")
    gone = admin.post(f"/people/{vera.pk}/deactivate", {"revoke_tokens": "on"}, follow=True)
    assert "The account is deactivated" in html(gone)
    assert "vera" in html(admin.get("/people", {"active": "no"}))
    back = admin.post(f"/people/{vera.pk}/reactivate", follow=True)
    assert "The person may sign in again." in html(back)
    vera.refresh_from_db()
    assert vera.is_active


def test_the_page_of_oneself_offers_nothing_that_is_refused(admin: Client) -> None:
    me = User.objects.get()
    page = html(admin.get(f"/people/{me.pk}"))
    assert "/deactivate" not in page
    assert "/reset" not in page
    refused = admin.post(f"/people/{me.pk}/deactivate", follow=True)
    assert "Nobody takes their own rights away" in html(refused)
    demoted = admin.post(f"/people/{me.pk}/change", {"role": "viewer", "language": ""})
    assert demoted.status_code == 400
    assert "Nobody takes their own rights away" in html(demoted)
    me.refresh_from_db()
    assert (me.role, me.is_active) == (Role.ADMIN, True)


def test_the_role_of_a_superuser_is_shown_as_it_holds(admin: Client) -> None:
    root = User.objects.create_superuser("root", password="x", role=Role.VIEWER)
    form = html(admin.get(f"/people/{root.pk}"))
    assert '<option value="admin" selected>' in form


def test_groups_are_granted_and_taken_back_from_both_sides(admin: Client) -> None:
    vera = make_user(Role.OPERATOR, "vera")
    group = HostGroup.objects.create(name="web")
    admin.post(f"/people/{vera.pk}/grant", {"group": group.group_id})
    assert HostGroupGrant.objects.filter(user=vera, group=group).exists()
    assert "vera" in html(admin.get(f"/groups/{group.group_id}"))
    admin.post(f"/groups/{group.group_id}/revoke", {"username": "vera"})
    assert not HostGroupGrant.objects.exists()
    admin.post(f"/groups/{group.group_id}/grant", {"username": "vera"})
    admin.post(f"/people/{vera.pk}/revoke", {"group": group.group_id})
    assert not HostGroupGrant.objects.exists()
    grant = f"/groups/{group.group_id}/grant"
    assert "unknown person: nobody" in html(admin.post(grant, {"username": "nobody"}, follow=True))
    assert admin.post(grant, {"username": "ve\0ra"}).status_code == 400
    for text in ("", "nonsense", "00000000-0000-0000-0000-000000000001"):
        assert admin.post(f"/people/{vera.pk}/grant", {"group": text}).status_code == 404
    actions = AuditEvent.objects.filter(object_type="group").values_list("action", flat=True)
    assert sorted(actions) == ["group.grant"] * 2 + ["group.revoke_grant"] * 2


def test_a_group_is_made_renamed_and_deleted(admin: Client) -> None:
    made = admin.post("/groups", {"name": "web", "description": "shops"})
    group = HostGroup.objects.get()
    assert made["Location"] == f"/groups/{group.group_id}"
    taken = admin.post("/groups", {"name": "web"})
    assert taken.status_code == 400
    assert "Taken." in html(taken)
    forged = admin.post(f"/groups/{group.group_id}/change", {"name": "a\u202eb"})
    assert forged.status_code == 400
    admin.post(f"/groups/{group.group_id}/change", {"name": "shop", "description": ""})
    group.refresh_from_db()
    assert (group.name, group.description) == ("shop", "")
    admin.post(f"/groups/{group.group_id}/delete")
    assert not HostGroup.objects.exists()


def test_deleting_a_group_says_first_what_it_takes_along(admin: Client) -> None:
    hosts = make_hosts(2)
    group = grant(make_user(Role.OPERATOR, "vera"), hosts)
    Task.objects.create(name="later", target={"groups": ["web"]})
    ended = {"status": "canceled", "finished_at": timezone.now()}
    Task.objects.create(name="ended", target={"groups": ["web"]}, **ended)
    page = html(admin.get(f"/groups/{group.group_id}"))
    assert "2 hosts leave the group and stay enrolled." in page
    assert "1 person loses the grant." in page
    assert "1 task that was not started names it and will not find it." in page


def add(admin: Client, group: HostGroup, **fields: str) -> Any:
    return admin.post(f"/groups/{group.group_id}/add-hosts", fields)


def members(group: HostGroup) -> set[str]:
    inside = HostGroupMember.objects.filter(group=group)
    return set(inside.values_list("host__hostname", flat=True))


def test_hosts_join_by_name_id_and_tag_and_leave_by_a_tick(admin: Client) -> None:
    hosts = make_hosts(4)
    group = HostGroup.objects.create(name="web")
    Host.objects.filter(pk=hosts[3].pk).update(tags=["shop"])
    typed = f"host-1, {str(hosts[1].host_id).upper()}\r\nhost-3"
    assert add(admin, group, names=typed, tag="shop").status_code == 302
    assert members(group) == {"host-1", "host-2", "host-3", "host-4"}
    out = {"host": [str(hosts[0].host_id), "nonsense"]}
    admin.post(f"/groups/{group.group_id}/remove-hosts", out)
    assert members(group) == {"host-2", "host-3", "host-4"}
    none = admin.post(f"/groups/{group.group_id}/remove-hosts", follow=True)
    assert "Tick at least one host." in html(none)


def test_one_name_that_is_wrong_adds_nobody(admin: Client) -> None:
    make_hosts(1)
    for _twice in range(2):
        Host.objects.create(hostname="twin")
    group = HostGroup.objects.create(name="web")
    refused = add(admin, group, names="host-1, nobody, twin", tag="none-has-it")
    text = html(refused)
    assert refused.status_code == 400
    assert "No host is called: nobody" in text
    assert "Several hosts are called: twin; give their ids." in text
    assert "No host has this tag." in text
    assert add(admin, group, names=" ", tag="").status_code == 400
    assert members(group) == set()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.APPROVER])
def test_others_look_at_groups_and_see_no_grants(role: Role) -> None:
    (host,) = make_hosts(1)
    group = grant(make_user(Role.OPERATOR, "vera"), [host])
    text = html(visitor(role).get(f"/groups/{group.group_id}"))
    assert "host-1" in text
    assert "vera" not in text
    assert "/delete" not in text
    assert "/people" not in text


MENU = {
    Role.VIEWER: {"/", "/tasks", "/hosts", "/groups", "/tokens"},
    Role.OPERATOR: {"/", "/tasks", "/hosts", "/groups", "/tokens"},
    Role.APPROVER: {"/", "/tasks", "/hosts", "/groups", "/tokens"},
    Role.ADMIN: {"/", "/tasks", "/hosts", "/groups", "/tokens", "/enrolment", "/people"},
}


@pytest.mark.parametrize("staff", [False, True])
@pytest.mark.parametrize("role", list(Role))
def test_the_menu_shows_only_what_works_and_all_of_it(role: Role, staff: bool) -> None:
    client = visitor(role, staff=staff)
    page = html(client.get("/"))
    menu = page.split('aria-label="Main"')[1].split("</nav>")[0]
    links = set(re.findall(r'href="([^"]+)"', menu))
    assert links == MENU[role] | ({"/admin/"} if staff and role == Role.ADMIN else set())
    for link in links:
        assert client.get(link).status_code == 200, link


def test_the_admin_shows_people_and_changes_none() -> None:
    client = visitor(staff=True)
    me = User.objects.get()
    page = f"/admin/access/user/{me.pk}/change/"
    assert client.get(page).status_code == 200
    assert client.post(page, {"username": "x", "role": "viewer"}).status_code == 403
    assert client.get("/admin/access/user/add/").status_code == 403
    assert client.get(f"/admin/access/user/{me.pk}/password/").status_code == 302
    assert client.get("/admin/password_change/")["Location"] == "/password"
