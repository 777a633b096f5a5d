"""IPv6 addresses, and the proxy on the way: which one, its password, and what never sees it."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from agents_app.agent.address import parse_server
from agents_app.agent.config import ConfigError, Settings, load_settings
from agents_app.agent.facts import host_facts
from agents_app.agent.proxy import goes_direct, parse_proxy
from agents_app.agent.transport import Channel, TransportError
from tests.agent.conftest import AgentProcess
from tests.agent.fake_gateway import TOKEN, FakeGateway, command
from tests.agent.on_the_way import ForwardProxy, answer, listening

TLS = Path(__file__).parent / "tls"
PORT_WAIT_SECONDS = 60.0
PASSWORD = "p@ss/w:rd%"
USERINFO = "user:p%40ss%2Fw%3Ard%25@"
AUTHORIZATION = "Basic " + base64.b64encode(f"user:{PASSWORD}".encode()).decode()


@pytest.mark.parametrize(
    ("url", "host", "port", "header"),
    [
        ("https://[2001:db8::10]", "2001:db8::10", 443, "[2001:db8::10]"),
        ("https://[2001:db8::10]:50051", "2001:db8::10", 50051, "[2001:db8::10]:50051"),
        ("http://[::1]", "::1", 80, "[::1]"),
        ("http://[::1]:443/", "::1", 443, "[::1]:443"),
        ("https://[fe80::1%25eth0]:5", "fe80::1%eth0", 5, "[fe80::1]:5"),
        ("https://ops.example", "ops.example", 443, "ops.example"),
        ("https://ops.example:443/x/", "ops.example", 443, "ops.example"),
        ("https://bücher.example", "xn--bcher-kva.example", 443, "xn--bcher-kva.example"),
    ],
)
def test_where_the_gateway_is(url: str, host: str, port: int, header: str) -> None:
    server = parse_server(url)
    assert (server.host, server.port, server.authority) == (host, port, header)


@pytest.mark.parametrize("secure", [False, True])
def test_speaks_to_an_ipv6_address(secure: bool) -> None:
    with FakeGateway(TLS / "plain-gateway.pem" if secure else None, host="::1") as gateway:
        settings = Settings(server=gateway.url, ca_file=str(TLS / "plain-ca.pem") if secure else "")
        channel = Channel(settings)
        channel.post("enroll", b'{"token": "dme_token"}', timeout_seconds=5)
        channel.close()
        assert gateway.headers[0]["host"] == f"[::1]:{gateway.port}"


def test_speaks_to_an_ipv6_address_without_a_port(
    make_agent: Callable[[], AgentProcess],
) -> None:
    """The usual port can only be had as root, and by one test at a time on this machine."""
    agent = make_agent()
    agent.settings |= {"SERVER": "http://[::1]", "ENROLLMENT_TOKEN": TOKEN}
    with gateway_on_port_80() as gateway:
        agent.start()
        sent = command("echo hello")
        gateway.deliver(sent)
        assert gateway.result(sent)["stdout"]["head"] == "hello\n"
        assert {headers["host"] for headers in gateway.headers} == {"[::1]"}
        assert gateway.enrolments[0]["ip"] == "::1"
        assert agent.terminate() == 0


def gateway_on_port_80() -> FakeGateway:
    until = time.monotonic() + PORT_WAIT_SECONDS
    while True:
        try:
            return FakeGateway(host="::1", port=80)
        except OSError:
            assert time.monotonic() < until, "port 80 of ::1 is taken"
            time.sleep(0.1)  # another run of these tests has it


SERVER = "https://ops.example:50051"


@pytest.mark.parametrize(
    ("environ", "proxy"),
    [
        ({}, "none"),
        ({"HTTPS_PROXY": "http://p:1"}, "http://p:1"),
        ({"https_proxy": "p:1"}, "p:1"),
        ({"https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:1"}, "http://low:1"),
        ({"https_proxy": "", "HTTPS_PROXY": "http://up:1"}, "none"),
        ({"HTTP_PROXY": "http://p:1"}, "none"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "other,.example"}, "none"),
        ({"HTTPS_PROXY": "http://p:1", "no_proxy": "ops.example"}, "none"),
        ({"HTTPS_PROXY": "http://p:1", "DM_AGENT_PROXY": "http://own:2"}, "http://own:2"),
        ({"DM_AGENT_PROXY": "http://own:2", "NO_PROXY": "*"}, "http://own:2"),
        ({"HTTPS_PROXY": "http://p:1", "DM_AGENT_PROXY": "none"}, "none"),
    ],
)
def test_which_proxy(tmp_path: Path, environ: dict[str, str], proxy: str) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(f'server = "{SERVER}"')
    assert load_settings(str(path), environ).proxy == proxy


def test_plain_http_has_its_own_variable(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text('server = "http://gateway"\nallow_http = true')
    for name in ("http_proxy", "HTTP_PROXY"):
        assert load_settings(str(path), {name: "http://p:1"}).proxy == "http://p:1"
    assert load_settings(str(path), {"HTTPS_PROXY": "http://p:1"}).proxy == "none"


@pytest.mark.parametrize(
    ("url", "exceptions", "direct"),
    [
        ("https://ops.example", "", False),
        ("https://ops.example", "*", True),
        ("https://ops.example", "ops.example", True),
        ("https://ops.example", "OPS.Example.", True),
        ("https://ops.example", "example", True),
        ("https://ops.example", ".example", True),
        ("https://ops.example", "*.example", True),
        ("https://ops.example", "ps.example", False),
        ("https://ops.example", "ops.example.org", False),
        ("https://ops.example", "a, b ,ops.example", True),
        ("https://ops.example", "a b ops.example", True),
        ("https://ops.example:8443", "ops.example:8443", True),
        ("https://ops.example:8443", "ops.example:443", False),
        ("https://ops.example", "ops.example:443", True),
        ("https://10.1.2.3", "10.1.2.3", True),
        ("https://10.1.2.3", "10.0.0.0/8", True),
        ("https://10.1.2.3", "10.1.2.99/24", True),
        ("https://10.1.2.3", "192.168.0.0/16,10.1.2.3:443", True),
        ("https://10.1.2.3", "11.0.0.0/8", False),
        ("https://10.1.2.3", "2001:db8::/32", False),
        ("https://10.1.2.3", "2.3", False),
        ("https://[2001:db8::10]", "2001:db8::/32", True),
        ("https://[2001:db8::10]", "[2001:db8::]/32", True),
        ("https://[2001:db8::10]", "2001:db8:0:0::10", True),
        ("https://[2001:db8::10]:5", "[2001:db8::10]:5", True),
        ("https://[2001:db8::10]:5", "[2001:db8::10]:6", False),
        ("https://[2001:db8::10]", "[2001:db8::10]", True),
        ("https://[::1]", "localhost,127.0.0.0/8,::1", True),
        ("https://ops.example", ",., ,:,/,[,]", False),
    ],
)
def test_what_no_proxy_names(url: str, exceptions: str, direct: bool) -> None:
    assert goes_direct(parse_server(url), exceptions) is direct


@pytest.mark.parametrize(
    "url",
    [
        "https://user:secret@p:1",
        "socks5://user:secret@p:1",
        "http://user:sec/ret@p:1",
        "http://user:secret@p:port",
        "http://user:secret@[::1",
        "http://user:sec#ret@p",
        "http://user:secret@p/path",
        "http://",
    ],
)
def test_a_wrong_proxy_is_named_without_its_password(tmp_path: Path, url: str) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(f'server = "{SERVER}"')
    for name, named in (("DM_AGENT_PROXY", "proxy must be"), ("HTTPS_PROXY", "HTTPS_PROXY must")):
        with pytest.raises(ConfigError, match=named) as caught:
            load_settings(str(path), {name: url})
        assert "secret" not in str(caught.value)
        assert "ret@" not in str(caught.value)


def test_a_proxys_password_is_in_no_repr(tmp_path: Path) -> None:
    path = tmp_path / "agent.toml"
    path.write_text(f"server = \"{SERVER}\"\nproxy = 'http://{USERINFO}p:1'")
    settings = load_settings(str(path), {})
    for shown in (repr(settings), repr(parse_proxy(settings.proxy))):
        assert "p%40ss" not in shown
        assert AUTHORIZATION not in shown
    assert parse_proxy(settings.proxy).authorization == AUTHORIZATION


@pytest.mark.parametrize("secure", [True, False])
@pytest.mark.parametrize("where", ["setting", "environment"])
def test_works_through_a_proxy_and_its_commands_know_nothing_of_it(
    make_agent: Callable[[], AgentProcess],
    monkeypatch: pytest.MonkeyPatch,
    secure: bool,
    where: str,
) -> None:
    agent = make_agent()
    proxy = ForwardProxy()
    with (
        listening(proxy) as port,
        FakeGateway(TLS / "plain-gateway.pem" if secure else None) as gateway,
    ):
        url = f"http://{USERINFO}127.0.0.1:{port}"
        agent.settings |= {"SERVER": gateway.url, "ENROLLMENT_TOKEN": TOKEN}
        if secure:
            agent.settings["CA_FILE"] = str(TLS / "plain-ca.pem")
        extra = {"https_proxy" if secure else "HTTP_PROXY": url}
        if where == "setting":
            agent.settings["PROXY"], extra = url, {}
        plain = agent.environment
        monkeypatch.setattr(agent, "environment", lambda fault="": plain(fault) | extra)
        agent.start()
        sent = command("env; cat /proc/self/environ")
        gateway.deliver(sent)
        printed = gateway.result(sent)["stdout"]["head"]
        assert agent.terminate() == 0
        forwarded = [headers for headers in gateway.headers if "proxy-authorization" in headers]
    assert "proxy" not in printed.lower()
    assert "p%40ss" not in printed
    method = b"CONNECT 127.0.0.1:" if secure else b"POST http://127.0.0.1:"
    assert proxy.heads
    assert all(head.startswith(method) for head in proxy.heads)
    assert all(b"Proxy-Authorization: " + AUTHORIZATION.encode() in head for head in proxy.heads)
    if secure:
        assert forwarded == [], "what is inside the tunnel is not for the proxy"
        assert all(b"dma_" not in head for head in proxy.heads)
    log = agent.log.read_text()
    for secret in ("p%40ss", PASSWORD, AUTHORIZATION):
        assert secret not in log


@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        (answer("407 Proxy Authentication Required"), "407 Proxy Authentication Required"),
        (answer("403 Forbidden"), "403 Forbidden"),
        (b"SSH-2.0\r\n\r\n", "did not answer like a proxy"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000, "did not answer like a proxy"),
        (b"HTTP/1.1 4", "did not answer like a proxy"),
    ],
)
def test_a_proxy_that_does_not_connect_is_named(refusal: bytes, said: str) -> None:
    with listening(ForwardProxy(refuse=refusal)) as port:
        settings = Settings(server=SERVER, proxy=f"http://{USERINFO}127.0.0.1:{port}")
        with pytest.raises(TransportError, match=f"127.0.0.1:{port} .*{said}") as caught:
            Channel(settings).post("enroll", b"{}", timeout_seconds=5)
    assert "user" not in str(caught.value)


def test_the_servers_name_is_not_looked_up_behind_a_proxy() -> None:
    settings = Settings(server="https://no-such-name.invalid", proxy="http://127.0.0.1:3128")
    assert host_facts(settings)["ip"] == "127.0.0.1"
