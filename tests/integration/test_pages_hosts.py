"""The pages of hosts and tokens."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.conf import settings
from django.utils import timezone

from agents_app.models import EnrollmentToken
from agents_app.services.enrollment import enroll
from devops_manager.access.models import ApiToken, AuditEvent, Role
from hosts_app.models import Host, HostGroup, HostGroupMember, HostHeartbeat
from hosts_app.services import Description, record_descriptions
from hosts_app.states import HostStatus
from tests.pages_world import html, visitor
from tests.queue_world import FakeAgent, make_hosts, make_task, start

pytestmark = pytest.mark.django_db


def heard(host: Host, *, seconds_ago: float = 0) -> None:
    HostHeartbeat.objects.create(
        host=host,
        last_seen_at=timezone.now() - timedelta(seconds=seconds_ago),
        load1=0.5,
        clock_skew_ms=86_400_000,
    )


def test_an_empty_list_says_how_to_add_hosts() -> None:
    assert "Add the first host" in html(visitor().get("/hosts"))
    assert "Add the first host" not in html(visitor(Role.OPERATOR).get("/hosts"))


def test_hosts_are_filtered() -> None:
    hosts = make_hosts(3, ip="192.0.2.1")
    heard(hosts[0])
    heard(hosts[1], seconds_ago=settings.DM_OFFLINE_AFTER_SECONDS + 60)
    Host.objects.filter(pk=hosts[1].pk).update(tags=["canary"], ip="2001:db8::1")
    HostGroupMember.objects.create(host=hosts[2], group=HostGroup.objects.create(name="edge"))
    Host.objects.filter(pk=hosts[2].pk).update(quarantined_at=timezone.now())
    client = visitor()
    wanted = {
        "online=yes": {1},
        "online=no": {2, 3},
        "online=quarantined": {3},
        "tag=canary": {2},
        "group=edge": {3},
        "group=none": set(),
        "search=OST-2": {2},
        "search=2001:DB8:0::1": {2},
        "status=active": {1, 2, 3},
        "status=pending": set(),
    }
    for query, numbers in wanted.items():
        text = html(client.get(f"/hosts?{query}"))
        assert {no for no in (1, 2, 3) if f">host-{no}<" in text} == numbers, query
    assert client.get("/hosts?status=odd").status_code == 400


def test_a_long_list_is_paged_in_few_statements(django_assert_max_num_queries: object) -> None:
    make_hosts(120)
    client = visitor()
    with django_assert_max_num_queries(14):  # type: ignore[operator]
        text = html(client.get("/hosts?page=2"))
    assert text.count('scope="row"') == 50
    assert "Page 2 of 3" in text


def test_hosts_are_approved_and_rejected_together() -> None:
    hosts = [Host.objects.create(hostname=f"new-{no}") for no in range(3)]
    client = visitor(Role.APPROVER)
    ids = [str(host.host_id) for host in hosts]
    text = html(client.post("/hosts/approve", {"host": ids[:2], "next": "/"}, follow=True))
    assert "2 hosts may work now." in text
    assert "1 host was rejected." in html(
        client.post("/hosts/reject", {"host": ids[2:]}, follow=True)
    )
    states = list(Host.objects.order_by("id").values_list("status", flat=True))
    assert states == [HostStatus.ACTIVE, HostStatus.ACTIVE, HostStatus.DISABLED]
    more = [Host.objects.create(hostname=f"more-{no}") for no in range(2)]
    assert "Approve them all" in html(client.get("/hosts?status=pending"))
    shown = {"shown": [str(host.host_id) for host in more], "which": "shown"}
    assert "2 hosts may work now." in html(client.post("/hosts/approve", shown, follow=True))
    again = html(client.post("/hosts/approve", {"host": ids[:1]}, follow=True))
    assert "note error" in again
    assert "Tick at least one host." in html(client.post("/hosts/approve", {}, follow=True))
    away = client.post("/hosts/approve", {"host": ids[:1], "next": "https://elsewhere.example"})
    assert away.url == "/hosts"  # type: ignore[attr-defined]


def test_the_page_of_a_host_shows_what_is_known() -> None:
    (host,) = make_hosts(1, facts={"kernel": "6.1"}, tags=["prod"])
    heard(host)
    task = start(make_task([host]))
    agent = FakeAgent(host)
    agent.poll()
    agent.report(agent.started[0], "failed")
    text = html(visitor(Role.VIEWER).get(f"/hosts/{host.host_id}"))
    for shown in ("6.1", "#prod", "Online", "Execution failed", "24 h 00 min ahead"):
        assert shown in text, shown
    assert f"/tasks/{task.task_id}/hosts/{host.host_id}" in text
    assert "/disable" not in text


def test_what_an_agent_says_of_its_host_is_inert() -> None:
    """Hosts that enrolled before such names were refused are shown as what they are."""
    evil = "a\x9b31m\u202eb"
    (host,) = make_hosts(
        1, os=evil, arch=evil, facts={evil: evil}, agent_version=evil, machine_id=evil
    )
    Host.objects.filter(pk=host.pk).update(hostname=evil, status="pending")
    client = visitor()
    for page in ("/hosts", "/", f"/hosts/{host.host_id}"):
        text = html(client.get(page))
        assert "a⟦U+009B⟧31m⟦U+202E⟧b" in text
        assert not {"\x9b", "\u202e"} & set(text), page


def test_a_host_says_that_it_drains_and_how_old_its_figures_are() -> None:
    (host,) = make_hosts(1)
    heard(host)
    HostHeartbeat.objects.update(draining=True, load_at=timezone.now() - timedelta(minutes=3))
    client = visitor(Role.VIEWER)
    text = html(client.get(f"/hosts/{host.host_id}"))
    assert "Draining" in text
    assert "3\xa0minutes ago" in text.split("Figures of", 1)[1].split("</dd>", 1)[0]
    assert '<span class="state warn">Draining</span>' in html(client.get("/hosts"))
    assert f">{host.hostname}<" in html(client.get("/hosts?online=draining"))
    HostHeartbeat.objects.update(draining=False)
    assert f">{host.hostname}<" not in html(client.get("/hosts?online=draining"))


def test_a_host_is_retired_and_brought_back_from_its_page() -> None:
    (host,) = make_hosts(1)
    client = visitor()
    address = f"/hosts/{host.host_id}"
    assert "Only an administrator can bring it back." in html(client.get(address))
    assert "retire" not in html(visitor(Role.OPERATOR, name="other").get(address)).lower()
    text = html(client.post(f"{address}/retire", follow=True))
    assert "The host is retired" in text
    assert "Bring the host back" in text
    assert f">{host.hostname}<" not in html(client.get("/hosts"))
    assert f">{host.hostname}<" in html(client.get("/hosts?status=retired"))
    assert "The host is back" in html(client.post(f"{address}/unretire", follow=True))
    assert f">{host.hostname}<" in html(client.get("/hosts"))
    assert "note error" in html(client.post(f"{address}/unretire", follow=True))


def test_a_machine_enrolled_again_replaces_its_older_record_from_its_page() -> None:
    old, new = make_hosts(2)
    Host.objects.update(machine_id="m-1")
    Host.objects.filter(pk=old.pk).update(tags=["blue"])
    text = html(visitor(Role.VIEWER, name="viewer").get(f"/hosts/{new.host_id}"))
    assert "Other records have this machine" in text
    assert "Replace the older record" not in text
    client = visitor()
    address = f"/hosts/{new.host_id}/replace/{old.host_id}"
    assert address in html(client.get(f"/hosts/{new.host_id}"))
    assert "The older record is retired" in html(client.post(address, follow=True))
    old.refresh_from_db()
    new.refresh_from_db()
    assert (old.status, new.tags) == ("retired", ["blue"])
    assert "Other records" not in html(client.get(f"/hosts/{new.host_id}"))


def test_a_rename_is_in_the_trail_of_the_page_and_a_fixed_name_wins() -> None:
    (host,) = make_hosts(1)
    record_descriptions([Description(host=host.pk, hostname="web-9")])
    client = visitor()
    address = f"/hosts/{host.host_id}"
    text = html(client.get(address))
    assert "<h1>web-9</h1>" in text
    assert f"{host.hostname} → web-9" in text
    fields = {"display_name": "Shop", "tags": "", "max_concurrency": "5"}
    text = html(client.post(f"{address}/change", fields, follow=True))
    assert "<h1>Shop</h1>" in text
    assert "web-9" in text.split("Name on the host", 1)[1].split("</dd>", 1)[0]
    bad = html(client.post(f"{address}/change", {**fields, "display_name": "a\u200bb"}))
    assert "Must be one line without control or invisible characters." in bad


def test_an_administrator_changes_a_host() -> None:
    (host,) = make_hosts(1)
    HostGroup.objects.create(name="edge")
    client = visitor()
    address = f"/hosts/{host.host_id}"
    fields = {"tags": "prod, canary, prod", "groups": ["edge"], "max_concurrency": "7"}
    assert "The host was changed." in html(client.post(f"{address}/change", fields, follow=True))
    host.refresh_from_db()
    assert (host.tags, host.max_concurrency) == (["prod", "canary"], 7)
    assert [group.name for group in host.groups.all()] == ["edge"]
    wrong = client.post(f"{address}/change", fields | {"max_concurrency": "0", "tags": "x" * 65})
    assert wrong.status_code == 400
    assert html(wrong).count('class="errors"') == 2
    for act, word in (("disable", "disabled"), ("enable", "may work again")):
        assert word in html(client.post(f"{address}/{act}", follow=True))
    assert "not quarantined" in html(client.post(f"{address}/release", follow=True))
    generation = host.credential_generation
    client.post(f"{address}/revoke")
    host.refresh_from_db()
    assert host.credential_generation == generation + 1


def test_an_enrolment_token_shows_its_command_once() -> None:
    HostGroup.objects.create(name="edge")
    client = visitor()
    assert "No tokens yet." in html(client.get("/enrolment"))
    fields = {"name": "rack 4", "groups": ["edge"], "auto_approve": "on", "expires": "7"}
    response = client.post("/enrolment", fields | {"max_uses": "1"})
    assert response.status_code == 201
    text = html(response)
    token = EnrollmentToken.objects.get()
    secret = text.split('id="secret">')[1].split("<")[0]
    assert f"echo {secret} " in text
    assert "/agent/install.sh" in text
    assert "--allow-http" in text
    host_id = enroll(
        token=secret, hostname="web-1", os="", arch="", machine_id="m", agent_version="",
        ip=None, facts={}, source_ip=None,
    ).host_id  # fmt: skip
    assert Host.objects.get(host_id=host_id).status == HostStatus.ACTIVE
    text = html(client.get("/enrolment"))
    assert secret not in text
    assert "1 / 1" in text
    client.post(f"/enrolment/{token.token_id}/revoke")
    assert "Revoked" in html(client.get("/enrolment"))
    wrong = client.post("/enrolment", {"name": "", "max_uses": "0"})
    assert wrong.status_code == 400
    assert html(wrong).count('class="errors"') == 2


def test_an_api_token_is_shown_once_and_revoked() -> None:
    client = visitor(Role.OPERATOR)
    response = client.post("/tokens", {"name": "backup", "role": "viewer", "expires": "30"})
    assert response.status_code == 201
    secret = html(response).split('id="secret">')[1].split("<")[0]
    headers = {"Authorization": f"Bearer {secret}"}
    assert visitor(name="z").get("/api/v1/me", headers=headers).json()["role"] == "viewer"
    text = html(client.get("/tokens"))
    assert secret not in text
    assert "backup" in text
    token = ApiToken.objects.get()
    assert "The token was revoked." in html(
        client.post(f"/tokens/{token.token_id}/revoke", follow=True)
    )
    assert AuditEvent.objects.filter(action="token.revoke").count() == 1
    forged = client.post("/tokens", {"name": "x\u202ey", "role": "viewer", "expires": ""})
    assert forged.status_code == 400
    assert "Must be one line without control or invisible characters." in html(forged)
    wider = client.post("/tokens", {"name": "x", "role": "admin", "expires": ""})
    assert wider.status_code == 400
    other = visitor(Role.OPERATOR, name="other")
    assert "There is no such token." in html(
        other.post(f"/tokens/{token.token_id}/revoke", follow=True)
    )
