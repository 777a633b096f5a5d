"""What is malformed, oversized or unknown gets 4xx, a problem that names the field, no effect."""

from __future__ import annotations

import http.client
import json
import socket
from pathlib import Path
from typing import Any

import pytest

from hosts_app.models import HostSession
from tasks_app.models import CommandHost
from tests.factories import started_task
from tests.gateway_process import GatewayProcess
from tests.protocol.client import Agent, only, send

GOOD = {
    "journal_id": "0b6d6a3e-6c1f-4f0e-9d0e-5a8f2f3c7a01",
    "run": 1,
    "instance_id": "0b6d6a3e-6c1f-4f0e-9d0e-5a8f2f3c7a02",
    "seq": 1,
    "boot_id": "boot",
    "time": 1_790_000_000.5,
    "holding": [],
    "wait_seconds": 0,
}


def with_raw(text: str) -> bytes:
    """Return a good poll with a piece of text put in as it is."""
    return (json.dumps(GOOD)[:-1] + "," + text + "}").encode()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"", "body"),
        (b"{", "body"),
        (b"null", "body"),
        (b"[]", "body"),
        (b'"text"', "body"),
        (b"\xff\xfe", "body"),
        (b"\x1f\x8b\x08\x00", "body"),
        (json.dumps(GOOD).encode() + b"x", "body"),
        (with_raw('"load": {"load1": NaN}'), "body"),
        (with_raw('"load": {"load1": Infinity}'), "body"),
        (with_raw('"extra": NaN'), "body"),
        (with_raw('"load": {"load1": 1e999}'), "load.load1"),
        (with_raw('"extra": ' + "[" * 100_000), "body"),
        (with_raw('"extra": ' + "[" * 5000 + "]" * 5000), "body"),
        (with_raw('"extra": "\\ud800"'), "body"),
        (with_raw('"seq": 2'), "seq"),
        (with_raw('"extra": "@"').replace(b"@", b"\xff\xfe"), "body"),
        (with_raw('"extra": {"twice": 1, "twice": 1}'), "twice"),
        (with_raw('"load": {"load1": 1, "load1": 1}'), "load1"),
        (with_raw('"extra": ' + "9" * 5000), "body"),
        (with_raw('"extra": [' + "{}," * 10_001 + "{}]"), "body"),
    ],
    ids=lambda value: value[-30:].decode("latin-1") if isinstance(value, bytes) else None,
)
def test_what_is_not_the_protocols_json(agent: Agent, body: bytes, field: str) -> None:
    reply = send(agent.port, "/agent/v1/poll", body, headers=agent.headers)
    assert reply.headers["content-type"] == "application/problem+json"
    assert (reply.status, reply.code) == (400, "invalid_request")
    assert (reply.json["status"], reply.json["title"]) == (400, "Bad Request")
    assert list(reply.json["errors"]) == [field]
    assert not HostSession.objects.exists()


REQUIRED = ["journal_id", "run", "instance_id", "seq", "boot_id", "time", "holding"]


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("changes", [{}, {"null": None}], ids=["missing", "null"])
def test_a_required_field_that_is_missing_is_named(
    agent: Agent, name: str, changes: dict[str, Any]
) -> None:
    body = {key: value for key, value in GOOD.items() if key != name}
    if changes:
        body[name] = None
    reply = send(agent.port, "/agent/v1/poll", body, headers=agent.headers)
    assert (reply.status, list(reply.json["errors"])) == (400, [name])


@pytest.mark.parametrize("name", ["holding", "time", "boot_id"])
def test_a_poll_without_a_required_field_interrupts_nothing(agent: Agent, name: str) -> None:
    started_task([agent.host])
    fence = only(agent.poll())
    agent.poll()
    agent.seq += 1
    body = agent.message(wait_seconds=0)
    del body[name]
    reply = send(agent.port, "/agent/v1/poll", body, headers=agent.headers)
    assert (reply.status, list(reply.json["errors"])) == (400, [name])
    assert agent.poll().status == 200
    assert CommandHost.objects.get(fence=fence).status == "running"


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"seq": "1"}, "seq"),
        ({"seq": 1.5}, "seq"),
        ({"seq": True}, "seq"),
        ({"seq": None}, "seq"),
        ({"seq": -1}, "seq"),
        ({"seq": 2**63}, "seq"),
        ({"run": 2**70}, "run"),
        ({"journal_id": "x"}, "journal_id"),
        ({"instance_id": 5}, "instance_id"),
        ({"holding": {}}, "holding"),
        ({"holding": [{"fence": "x", "state": "running"}]}, "holding[0].fence"),
        ({"holding": [{"fence": GOOD["journal_id"]}]}, "holding[0].state"),
        ({"holding": [{"fence": GOOD["journal_id"], "state": "done"}]}, "holding[0].state"),
        ({"holding": [{"fence": GOOD["journal_id"], "state": "running"}] * 2001}, "holding"),
        ({"slots": -1}, "slots"),
        ({"slots": "5"}, "slots"),
        ({"wait_seconds": -1}, "wait_seconds"),
        ({"load": 1}, "load"),
        ({"load": {"running": -1}}, "load.running"),
        ({"load": {"cpu_percent": "5"}}, "load.cpu_percent"),
        ({"boot_id": "b" * 65}, "boot_id"),
        ({"boot_id": "a\0b"}, "boot_id"),
        ({"agent_version": "v" * 33}, "agent_version"),
        ({"time": "now"}, "time"),
        ({"draining": 1}, "draining"),
        ({"host": {"hostname": "a b"}}, "host.hostname"),
        ({"host": {"hostname": "a\u200bb"}}, "host.hostname"),
        ({"host": {"hostname": ""}}, "host.hostname"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_field_of_the_wrong_kind_is_named(
    agent: Agent, changes: dict[str, Any], field: str
) -> None:
    reply = send(agent.port, "/agent/v1/poll", {**GOOD, **changes}, headers=agent.headers)
    assert (reply.status, reply.code) == (400, "invalid_request")
    assert list(reply.json["errors"]) == [field]
    assert field.rpartition(".")[2] in reply.json["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"results": {}}, "results"),
        ({"output": 1}, "output"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_field_of_a_report_is_named(agent: Agent, body: dict[str, Any], field: str) -> None:
    reply = send(agent.port, "/agent/v1/report", body, headers=agent.headers)
    assert (reply.status, list(reply.json["errors"])) == (400, [field])


def test_unknown_fields_are_ignored(agent: Agent) -> None:
    body = {**GOOD, "future": {"deep": [1, {"a": None}]}}
    assert send(agent.port, "/agent/v1/poll", body, headers=agent.headers).status == 200


@pytest.mark.parametrize(
    ("path", "limit"),
    [("enroll", 65_536), ("heartbeat", 65_536), ("poll", 1_048_576), ("report", 8_388_608)],
)
def test_a_body_over_the_limit_is_refused(agent: Agent, path: str, limit: int) -> None:
    headers = {**agent.headers, "Content-Length": str(limit + 1)}
    reply = send(agent.port, f"/agent/v1/{path}", b" " * (limit + 1), headers=headers)
    assert (reply.status, reply.code) == (413, "too_large")
    assert str(limit) in reply.json["detail"]


def test_a_body_at_the_limit_is_read(agent: Agent) -> None:
    body = json.dumps(GOOD).encode().ljust(1_048_576)
    assert send(agent.port, "/agent/v1/poll", body, headers=agent.headers).status == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_an_encoded_body_is_refused(agent: Agent, encoding: str) -> None:
    headers = {**agent.headers, "Content-Encoding": encoding}
    reply = send(agent.port, "/agent/v1/poll", b"\x1f\x8b", headers=headers)
    assert (reply.status, reply.code) == (415, "invalid_request")


def test_a_body_without_a_length_is_refused(agent: Agent) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", agent.port, timeout=10)
    connection.request(
        "POST", "/agent/v1/poll", iter([b"{", b"}"]), agent.headers, encode_chunked=True
    )
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["code"]) == (411, "invalid_request")
    connection.close()


@pytest.mark.parametrize("length", ["abc", "-1", "1.5", "99999999999999999999"])
def test_a_length_that_is_none_is_refused(agent: Agent, length: str) -> None:
    with socket.create_connection(("127.0.0.1", agent.port), timeout=10) as raw:
        raw.sendall(
            f"POST /agent/v1/poll HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode()
        )
        status = int(raw.recv(4096).split()[1])
    assert status in {400, 413}


@pytest.mark.parametrize(
    "path", ["/", "/agent/v1/", "/agent/v1/polls", "/agent/v2/poll", "/poll", "/api/v1/tasks"]
)
def test_an_address_where_nothing_is(agent: Agent, path: str) -> None:
    reply = send(agent.port, path, {}, headers=agent.headers)
    assert (reply.status, reply.code) == (404, "not_found")


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_another_method(agent: Agent, method: str) -> None:
    reply = send(agent.port, "/agent/v1/poll", method=method, headers=agent.headers)
    assert (reply.status, reply.code) == (405, "method_not_allowed")
    assert reply.headers["allow"] == "POST"


@pytest.mark.usefixtures("promises_hold")
def test_a_body_of_a_gibibyte_takes_no_memory(gateway: GatewayProcess, agent: Agent) -> None:
    def resident_kib() -> int:
        status = Path(f"/proc/{gateway.worker_pid()}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0])

    agent.poll()
    before = resident_kib()
    head = (
        "POST /agent/v1/report HTTP/1.1\r\nHost: x\r\n"
        f"Authorization: Bearer {agent.credential}\r\nContent-Length: 1073741824\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", agent.port), timeout=10) as raw:
        raw.sendall(head.encode())
        piece = bytes(1 << 20)
        for _ in range(1024):
            try:
                raw.sendall(piece)
            except OSError:
                break  # the gateway has lost its patience, which is its right
        assert b" 413 " in raw.recv(4096).split(b"\r\n")[0] + b" "
    assert resident_kib() - before < 20_000
    assert agent.poll().status == 200


def test_connections_are_kept_alive_over_good_and_bad_requests(agent: Agent) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", agent.port, timeout=10)
    statuses = []
    for body in (b"{", json.dumps(GOOD).encode(), b"[]"):
        connection.request("POST", "/agent/v1/poll", body, agent.headers)
        answer = connection.getresponse()
        answer.read()
        statuses.append(answer.status)
        assert connection.sock is not None
    connection.close()
    assert statuses == [400, 200, 400]


def test_an_unauthorized_request_does_not_have_its_large_body_read(gateway: GatewayProcess) -> None:
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as raw:
        raw.sendall(b"POST /agent/v1/report HTTP/1.1\r\nHost: x\r\nContent-Length: 8000000\r\n\r\n")
        first_line = raw.recv(4096).split(b"\r\n")[0]
    assert b" 401 " in first_line
