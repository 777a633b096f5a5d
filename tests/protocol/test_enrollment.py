"""DESIGN.md section 5, ``enroll``: a token and a machine become a host with a credential."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from agents_app.models import AgentCredential, EnrollmentToken
from devops_manager.access.models import AuditEvent
from hosts_app.models import Host, HostGroup, HostHeartbeat
from tests.factories import make_token
from tests.gateway_process import GatewayProcess
from tests.protocol.client import Agent, Reply, eventually, send

pytestmark = pytest.mark.django_db(transaction=True)


def machine(token: str, **changes: Any) -> dict[str, Any]:
    return {
        "token": token,
        "hostname": "web-1",
        "os": "Debian GNU/Linux 12",
        "arch": "x86_64",
        "machine_id": "0123456789abcdef",
        "agent_version": "0.1.0",
        "ip": "192.0.2.7",
        "facts": {"kernel": "6.1", "disks": [{"name": "sda", "bytes": 10**12}]},
        **changes,
    }


def nested(levels: int) -> list[Any]:
    return [nested(levels - 1)] if levels else []


def enroll(gateway: GatewayProcess, body: dict[str, Any], source: str = "") -> Reply:
    # An address of the documentation's own for each test, so that failures are counted apart.
    headers = {"X-Forwarded-For": source} if source else {}
    return send(gateway.port, "/agent/v1/enroll", body, headers=headers)


def agent_of(gateway: GatewayProcess, reply: Reply) -> Agent:
    host = Host.objects.get(host_id=reply.json["host_id"])
    return Agent(gateway.port, reply.json["credential"], host)


def test_a_machine_becomes_a_host_that_waits_for_approval(gateway: GatewayProcess) -> None:
    token, plain = make_token()
    reply = enroll(gateway, machine(plain))
    assert (reply.status, reply.json["status"]) == (201, "pending")
    host = Host.objects.get(host_id=reply.json["host_id"])
    assert (host.hostname, host.ip, host.os, host.arch) == (
        "web-1",
        "192.0.2.7",
        "Debian GNU/Linux 12",
        "x86_64",
    )
    assert host.facts == machine("")["facts"]
    assert (host.machine_id, host.agent_version, host.status) == (
        "0123456789abcdef",
        "0.1.0",
        "pending",
    )
    token.refresh_from_db()
    assert token.used_count == 1
    event = AuditEvent.objects.get(action="host.enroll")
    assert (event.actor_kind, event.actor) == ("agent", f"agent:{host.host_id}")
    assert event.after["enrollment_token"] == str(token.token_id)
    assert agent_of(gateway, reply).poll().code == "host_pending"


def test_the_credential_is_stored_hashed(gateway: GatewayProcess) -> None:
    _token, plain = make_token()
    credential = enroll(gateway, machine(plain)).json["credential"]
    stored = AgentCredential.objects.get()
    assert credential.startswith(f"dma_{stored.prefix}_")
    assert bytes(stored.secret_hash) == hashlib.sha256(credential.encode()).digest()


def test_a_token_may_approve_at_once_and_name_groups(gateway: GatewayProcess) -> None:
    group = HostGroup.objects.create(name="web")
    _token, plain = make_token(auto_approve=True, groups=(group,))
    reply = enroll(gateway, machine(plain))
    assert reply.json["status"] == "active"
    host = Host.objects.get()
    assert list(host.groups.all()) == [group]
    assert host.approved_at is not None
    assert agent_of(gateway, reply).poll().status == 200


def test_what_may_be_left_out(gateway: GatewayProcess) -> None:
    _token, plain = make_token()
    body = {
        key: value
        for key, value in machine(plain).items()
        if key not in {"ip", "facts", "agent_version"}
    }
    assert enroll(gateway, body, "198.51.100.3").status == 201
    assert Host.objects.get().ip == "198.51.100.3"


@pytest.mark.parametrize(
    "fields",
    [
        {"expires_at": timezone.now() - timedelta(seconds=1)},
        {"revoked_at": timezone.now()},
        {"max_uses": 1, "used_count": 1},
        {"max_uses": 0},
    ],
    ids=["expired", "revoked", "used up", "no uses"],
)
def test_a_token_that_is_no_longer_good(gateway: GatewayProcess, fields: dict[str, Any]) -> None:
    _token, plain = make_token(**fields)
    reply = enroll(gateway, machine(plain), "198.51.100.4")
    assert (reply.status, reply.code) == (401, "enrollment_token_invalid")
    assert not Host.objects.exists()


@pytest.mark.parametrize("token", ["dme_nothing", "x", "dme_aaaaaaaaaaaa_" + "A" * 43, "dma_\0"])
def test_a_token_that_never_was(gateway: GatewayProcess, token: str) -> None:
    reply = enroll(gateway, machine(token), "198.51.100.5")
    assert (reply.status, reply.code) == (401, "enrollment_token_invalid")


def test_a_token_with_another_secret(gateway: GatewayProcess) -> None:
    _token, plain = make_token()
    wrong = plain[:-1] + ("A" if plain[-1] != "A" else "B")
    assert enroll(gateway, machine(wrong), "198.51.100.6").status == 401


def test_a_token_is_used_no_more_often_than_it_may(gateway: GatewayProcess) -> None:
    token, plain = make_token(max_uses=2)
    statuses = [
        enroll(gateway, machine(plain, machine_id=f"m{at}"), "198.51.100.7").status
        for at in range(3)
    ]
    assert statuses == [201, 201, 401]
    token.refresh_from_db()
    assert token.used_count == 2


def test_an_agent_that_lost_the_answer_gets_the_same_host(gateway: GatewayProcess) -> None:
    _token, plain = make_token(max_uses=1, auto_approve=True)
    lost = enroll(gateway, machine(plain))
    again = enroll(gateway, machine(plain))
    assert again.status == 201
    assert again.json["host_id"] == lost.json["host_id"]
    assert EnrollmentToken.objects.get().used_count == 1
    assert agent_of(gateway, again).poll().status == 200
    assert agent_of(gateway, lost).poll().status == 401
    assert AuditEvent.objects.filter(action="host.enroll_again").count() == 1


@pytest.mark.parametrize("together", [False, True], ids=["one by one", "at once"])
def test_clones_of_one_image_become_hosts_of_their_own(
    gateway: GatewayProcess, together: bool
) -> None:
    token, plain = make_token(auto_approve=True)
    bodies = [machine(plain, hostname=f"web-{no}") for no in (1, 2, 3)]
    if together:
        meet = threading.Barrier(3)

        def at_once(body: dict[str, Any]) -> Reply:
            meet.wait()
            return enroll(gateway, body)

        with ThreadPoolExecutor(3) as threads:
            replies = list(threads.map(at_once, bodies))
    else:
        replies = [enroll(gateway, body) for body in bodies]
    assert [reply.status for reply in replies] == [201] * 3
    assert len({reply.json["host_id"] for reply in replies}) == 3
    for _ in range(2):
        assert [agent_of(gateway, reply).poll().status for reply in replies] == [200] * 3
    token.refresh_from_db()
    assert token.used_count == 3


def test_clones_that_kept_the_name_too_differ_by_their_address(gateway: GatewayProcess) -> None:
    _token, plain = make_token(auto_approve=True)
    replies = [enroll(gateway, machine(plain, ip=f"192.0.2.{no}")) for no in (7, 8)]
    assert len({reply.json["host_id"] for reply in replies}) == 2
    assert [agent_of(gateway, reply).poll().status for reply in replies] == [200] * 2


def test_a_clone_beyond_the_tokens_uses_is_refused_and_locks_nobody_out(
    gateway: GatewayProcess,
) -> None:
    _token, plain = make_token(auto_approve=True, max_uses=1)
    first = enroll(gateway, machine(plain), "198.51.100.8")
    second = enroll(gateway, machine(plain, hostname="web-2"), "198.51.100.8")
    assert (second.status, second.code) == (401, "enrollment_token_invalid")
    assert agent_of(gateway, first).poll().status == 200


def test_retries_at_once_get_one_host(gateway: GatewayProcess) -> None:
    token, plain = make_token(auto_approve=True)
    meet = threading.Barrier(3)

    def again(_no: int) -> Reply:
        meet.wait()
        return enroll(gateway, machine(plain))

    with ThreadPoolExecutor(3) as threads:
        replies = list(threads.map(again, range(3)))
    assert len({reply.json["host_id"] for reply in replies}) == 1
    token.refresh_from_db()
    assert token.used_count == 1


@pytest.mark.parametrize(
    "machine_id",
    [
        "uninitialized",
        "Uninitialized",
        "",
        " ",
        "0" * 32,
        "f" * 32,
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "00000000-0000-0000-0000-000000000000",
        "----",
        "none",
        "None",
        "Not Specified",
        "To be filled by O.E.M.",
        "03000200-0400-0500-0006-000700080009",
        "{00020003-0004-0005-0006-000700080009}",
    ],
)
def test_a_machine_id_that_says_nothing_is_none(gateway: GatewayProcess, machine_id: str) -> None:
    _token, plain = make_token(auto_approve=True)
    replies = [
        enroll(gateway, machine(plain, machine_id=machine_id, hostname=name))
        for name in ("web-1", "web-2", "web-2")
    ]
    assert [reply.status for reply in replies] == [201] * 3
    assert len({reply.json["host_id"] for reply in replies}) == 3
    assert set(Host.objects.values_list("machine_id", flat=True)) == {""}
    assert [agent_of(gateway, reply).poll().status for reply in replies] == [200] * 3
    assert not Host.objects.filter(quarantined_at__isnull=False).exists()


def test_a_host_that_was_heard_is_not_given_to_another_machine(gateway: GatewayProcess) -> None:
    _token, plain = make_token()
    first = enroll(gateway, machine(plain))
    assert agent_of(gateway, first).poll().code == "host_pending"
    eventually(HostHeartbeat.objects.exists)
    clone = enroll(gateway, machine(plain))
    assert clone.json["host_id"] != first.json["host_id"]
    assert agent_of(gateway, first).poll().code == "host_pending"


def test_another_token_gives_another_host(gateway: GatewayProcess) -> None:
    _one, first = make_token()
    _two, second = make_token()
    hosts = {enroll(gateway, machine(plain)).json["host_id"] for plain in (first, second)}
    assert len(hosts) == 2


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"ip": "999.1.1.1"}, "ip"),
        ({"hostname": ""}, "hostname"),
        ({"hostname": "a b"}, "hostname"),
        ({"hostname": "a\0b"}, "hostname"),
        ({"hostname": "h" * 254}, "hostname"),
        ({"machine_id": "m" * 65}, "machine_id"),
        ({"machine_id": "a\u200bb"}, "machine_id"),
        ({"hostname": "web\u200b-1"}, "hostname"),
        ({"hostname": "web\u202e-1"}, "hostname"),
        ({"os": 12}, "os"),
        ({"arch": None}, "arch"),
        ({"agent_version": "\n"}, "agent_version"),
        ({"facts": []}, "facts"),
        ({"facts": {"a": "x\0y"}}, "facts"),
        ({"facts": {"a": nested(40)}}, "facts"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_bad_fields_are_named_and_nothing_is_made(
    gateway: GatewayProcess, changes: dict[str, Any], field: str
) -> None:
    token, plain = make_token()
    reply = enroll(gateway, machine(plain, **changes))
    assert (reply.status, reply.code) == (400, "invalid_request")
    assert list(reply.json["errors"]) == [field]
    token.refresh_from_db()
    assert (token.used_count, Host.objects.count()) == (0, 0)


def test_nobody_names_an_address_of_its_own_to_a_gateway_without_proxies(
    lonely_gateway: GatewayProcess,
) -> None:
    """Case forwarded-for, in the gateway: not even the loopback address is believed by default."""
    said = [f"203.0.113.{at}" for at in range(11)]
    replies = [enroll(lonely_gateway, machine("dme_guess"), source) for source in said]
    assert [reply.status for reply in replies] == [401] * 10 + [429]
    addresses = AuditEvent.objects.filter(action="host.enroll_refused").values_list("source_ip")
    assert set(addresses) == {("127.0.0.1",)}


def test_what_was_refused_is_audited_and_does_not_flood_the_trail(gateway: GatewayProcess) -> None:
    token, plain = make_token(max_uses=0)
    for body in [machine(plain), *[machine("dme_guess")] * 8]:
        assert enroll(gateway, body, "6.6.6.6, 203.0.113.20").status == 401
    events = AuditEvent.objects.filter(action="host.enroll_refused").order_by("id")
    assert events.count() == 5
    assert {event.source_ip for event in events} == {"203.0.113.20"}
    assert (events[0].actor_kind, events[0].object_id) == ("agent", str(token.token_id))
    assert events[0].after == {"hostname": "web-1"}
    assert plain not in str(list(events.values()))


def test_who_guesses_tokens_is_slowed_down(gateway: GatewayProcess) -> None:
    _token, plain = make_token()
    replies = [enroll(gateway, machine("dme_guess"), "203.0.113.9") for _ in range(11)]
    assert [reply.status for reply in replies] == [401] * 10 + [429]
    assert replies[-1].code == "busy"
    assert 1 <= int(replies[-1].headers["retry-after"]) <= 61
    assert enroll(gateway, machine(plain), "203.0.113.9").status == 429
    assert enroll(gateway, machine(plain), "203.0.113.10").status == 201
