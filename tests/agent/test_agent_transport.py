"""TLS, connections that break, and servers that misbehave."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agents_app.agent.backoff import Backoff
from agents_app.agent.config import ConfigError, Settings
from agents_app.agent.transport import Channel, Refused, TransportError
from tests.agent.conftest import AgentProcess
from tests.agent.fake_gateway import TOKEN, Answer, FakeGateway, command, problem

TLS = Path(__file__).parent / "tls"


@pytest.fixture
def secure_gateway() -> Iterator[FakeGateway]:
    with FakeGateway(TLS / "gateway.pem") as running:
        yield running


def enroll(channel: Channel) -> dict[str, Any]:
    body = f'{{"token": "{TOKEN}"}}'.encode()
    return channel.post("enroll", body, timeout_seconds=5)


def test_runs_over_tls_with_the_sites_own_authority(
    secure_gateway: FakeGateway, make_agent: Callable[[], AgentProcess]
) -> None:
    agent = make_agent()
    agent.settings.update(SERVER=secure_gateway.url, CA_FILE=str(TLS / "ca.pem"))
    agent.enrolled().start()
    sent = command("echo hello")
    secure_gateway.deliver(sent)
    assert secure_gateway.result(sent)["stdout"]["head"] == "hello\n"
    assert agent.terminate() == 0


def test_a_certificate_that_nobody_vouches_for_is_refused(secure_gateway: FakeGateway) -> None:
    with pytest.raises(TransportError, match="certificate is not trusted"):
        enroll(Channel(Settings(server=secure_gateway.url)))
    assert secure_gateway.enrolments == []


def test_a_certificate_for_another_name_is_refused(secure_gateway: FakeGateway) -> None:
    # The name resolves to the gateway, and its certificate does not name it.
    port = secure_gateway.url.rpartition(":")[2]
    settings = Settings(server=f"https://127.0.0.2:{port}", ca_file=str(TLS / "ca.pem"))
    with pytest.raises(TransportError):
        enroll(Channel(settings))
    assert secure_gateway.enrolments == []


def test_a_ca_file_without_certificates_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("nothing")
    with pytest.raises(ConfigError, match=r"ca\.pem holds no certificate"):
        Channel(Settings(server="https://ops", ca_file=str(path)))


def test_refusals_carry_code_and_retry_after(gateway: FakeGateway) -> None:
    channel = Channel(Settings(server=gateway.url))
    gateway.script("enroll", problem(503, "unavailable", Retry_After="7"), (502, {}, {}))
    with pytest.raises(Refused) as caught:
        enroll(channel)
    refused = caught.value
    assert (refused.status, refused.code, refused.retry_after_seconds) == (503, "unavailable", 7)
    with pytest.raises(Refused) as caught:
        enroll(channel)
    assert (caught.value.code, caught.value.retry_after_seconds) == ("", None)
    assert enroll(channel)["status"] == "active"
    channel.close()


def test_nobody_listens(gateway: FakeGateway) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with pytest.raises(TransportError, match="Connection refused"):
        enroll(Channel(Settings(server=f"http://127.0.0.1:{port}")))


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}"]
)
def test_something_else_listens(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        channel = Channel(Settings(server=f"http://127.0.0.1:{server.getsockname()[1]}"))
        with pytest.raises(TransportError):
            enroll(channel)
        thread.join()


def test_an_aborted_channel_sends_nothing_more(gateway: FakeGateway) -> None:
    channel = Channel(Settings(server=gateway.url))
    enroll(channel)
    channel.abort()
    for _ in range(2):
        with pytest.raises(TransportError):
            enroll(channel)
    assert len(gateway.enrolments) == 1


def test_a_server_that_answers_nothing_at_once_is_not_hammered(
    gateway: FakeGateway, agent: AgentProcess
) -> None:
    agent.settings["POLL_WAIT_SECONDS"] = "20"
    nothing: Answer = (200, {"commands": [], "cancel": ["no-such-fence"], "config": {}}, {})
    gateway.script("poll", *[nothing] * 8)
    agent.start()
    polls = gateway.wait_for(lambda: gateway.polls[:8] if len(gateway.polls) >= 8 else None)
    assert polls[7]["time"] - polls[5]["time"] >= 1.0


def test_backoff_grows_jitters_and_is_bounded() -> None:
    backoff = Backoff(first_seconds=1.0, longest_seconds=8.0)
    for ceiling in (1, 2, 4, 8, 8, 8):
        assert 0 <= backoff.next_seconds() <= ceiling
    backoff.reset()
    assert backoff.next_seconds() <= 1.0
    assert 6.0 <= backoff.longest() <= 8.0
    assert 10.0 <= backoff.asked_for(10.0) <= 12.5
    assert backoff.asked_for(1e9) <= 750.0
    drawn = {backoff.next_seconds() for _ in range(20)}
    assert len(drawn) == 20
