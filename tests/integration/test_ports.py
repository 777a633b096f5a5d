"""Ports are given once, and a server that came to another's port is not taken for it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psycopg
import pytest
import redis

from devops_manager.embedded import ports, postgres, redis_server
from devops_manager.embedded.places import VAR
from devops_manager.embedded.ports import LOOPBACK, free_port, is_free, reserve
from devops_manager.embedded.servers import embedded_servers
from devops_manager.standalone import surroundings
from devops_manager.standalone.client import Api
from devops_manager.standalone.surroundings import choose_addresses
from tests.e2e.stack import _is_ready
from tests.gateway_process import GatewayProcess, WebProcess

PROJECT = Path(__file__).resolve().parent.parent.parent
# Asks for many ports one by one, as a test run does, and says which.
ASKER = """
import sys
from devops_manager.embedded.ports import free_port
print(*(free_port() for _ in range(400)), flush=True)
sys.stdin.read()
"""


def test_two_processes_that_ask_at_once_never_get_one_port_twice() -> None:
    askers = [
        subprocess.Popen(
            [sys.executable, "-c", ASKER],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _number in range(3)
    ]
    given: list[int] = []
    for asker in askers:
        assert asker.stdout is not None
        given += map(int, asker.stdout.readline().split())
    for asker in askers:
        asker.communicate()
    assert len(given) == 1200
    assert len(set(given)) == 1200


def test_a_port_that_was_given_is_given_to_nobody_else() -> None:
    port = free_port()
    with ThreadPoolExecutor(8) as threads:
        others = list(threads.map(lambda _number: free_port(), range(200)))
    assert len({port, *others}) == 201
    assert not reserve(port), "not to this process either"
    with socket.socket() as outgoing, pytest.raises(OSError, match="in use"):
        outgoing.bind((LOOPBACK, port))


def test_a_server_listens_on_its_reserved_port_again_and_again() -> None:
    port = free_port()
    for _start in range(2):
        with socket.create_server((LOOPBACK, port)):
            assert not is_free(port)
        assert is_free(port)
    assert port in ports._reserved


@pytest.fixture
def var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(surroundings, "VAR", tmp_path)
    for name in ("DM_WEB_PORT", "DM_GATEWAY_PORT", "DM_BIND"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def unreserved_port() -> int:
    """Return a port that is free now and that this process has not given away."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
    return port


def let_go(*given: int) -> None:
    """End what the end of a run ends."""
    for port in given:
        os.close(ports._reserved.pop(port))


def test_one_port_for_both_servers_is_refused(
    var: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = str(unreserved_port())
    monkeypatch.setenv("DM_WEB_PORT", port)
    monkeypatch.setenv("DM_GATEWAY_PORT", port)
    addresses = choose_addresses()
    assert addresses.web_port == int(port)
    assert addresses.gateway_port != addresses.web_port
    assert f"Port {port} is taken" in capsys.readouterr().out


def test_a_second_run_keeps_its_ports_and_names_one_that_changed(
    var: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DM_WEB_PORT", str(unreserved_port()))
    monkeypatch.setenv("DM_GATEWAY_PORT", str(unreserved_port()))
    first = choose_addresses()
    let_go(first.web_port, first.gateway_port)
    monkeypatch.delenv("DM_WEB_PORT")
    monkeypatch.delenv("DM_GATEWAY_PORT")
    assert "from now on" not in capsys.readouterr().out

    second = choose_addresses()
    assert (second.web_port, second.gateway_port) == (first.web_port, first.gateway_port)
    assert capsys.readouterr().out == ""
    let_go(second.web_port, second.gateway_port)

    with socket.create_server((LOOPBACK, first.web_port)):
        third = choose_addresses()
    assert third.web_port != first.web_port
    assert third.gateway_port == first.gateway_port
    shown = capsys.readouterr().out
    assert f"Port {first.web_port} is taken; using {third.web_port} instead" in shown
    assert f"were on port {first.web_port} and are at {third.web_url} from now on" in shown
    assert "The gateway" not in shown


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"DM_WEB_PORT": "x"}', '{"a": 1}', "7"])
def test_a_spoiled_record_of_the_ports_is_as_none(var: Path, text: str) -> None:
    (var / "ports.json").write_text(text)
    addresses = choose_addresses()
    let_go(addresses.web_port, addresses.gateway_port)
    assert set(json.loads((var / "ports.json").read_text()).values()) == {
        addresses.web_port,
        addresses.gateway_port,
    }


@pytest.mark.django_db(transaction=True)
def test_each_server_is_asked_who_it_is(tmp_path: Path) -> None:
    """Seen once: web and gateway had one port, and web was taken for the gateway."""
    web = WebProcess(tmp_path / "web.log", DM_INSTANCE="mine")
    gateway = GatewayProcess(tmp_path / "gateway.log", DM_INSTANCE="mine")
    web._instance = gateway._instance = "mine"
    try:
        web.start()
        gateway.start()
        for url, service, other in (
            (web.url, "web", "gateway"),
            (gateway.url, "gateway", "web"),
        ):
            said = httpx.get(f"{url}/healthz").json()
            assert said == {"status": "ok", "service": service, "instance": "mine"}
            api = Api(base_url=url, token="")
            assert api.ready(service, "mine")
            assert _is_ready(url, service, "mine")
            assert not api.ready(other, "mine")
            assert not _is_ready(url, other, "mine")
            assert not api.ready(service, "another"), "another installation's"
        gateway._instance = "another"
        assert not gateway.is_served(httpx.get(f"{gateway.url}/healthz"))
        assert not web.is_served(httpx.get(f"{gateway.url}/healthz"))
    finally:
        gateway.stop()
        web.stop()


def test_an_embedded_server_is_not_taken_for_another() -> None:
    """Neither its password nor its being there proves whose it is; its own place does."""
    with embedded_servers(VAR) as servers:
        with psycopg.connect(servers.database_url) as connection:
            info = connection.info
            port, password = info.port, info.password
        data = servers.postgres._data
        assert postgres._answers(port, password, data)
        assert not postgres._answers(port, password, data.with_name("another"))
        client = redis.Redis.from_url(servers.redis_url)
        options = client.connection_pool.connection_kwargs
        address = (options["port"], options["password"])
        client.close()
        assert redis_server._answers(*address, servers.redis.pid)
        assert not redis_server._answers(*address, os.getpid())
