"""A first start, and every later poll, survive what is not the gateway's answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from agents_app.agent.backoff import Backoff
from agents_app.agent.config import Settings
from agents_app.agent.session import Outage
from agents_app.agent.transport import Channel, Refused
from tests.agent.conftest import AgentProcess
from tests.agent.fake_gateway import CREDENTIAL, TOKEN, Answer, FakeGateway, command, problem
from tests.agent.on_the_way import Foreign, answer, listening
from tests.agent.waiting import wait_until

HTML = "<html><body>nothing here</body></html>"
# Codes of other software: a code is ours only in a problem that says the status, too.
OTHER_CODES = [
    '{"code": "enrollment_token_invalid"}',
    '{"kind": "Status", "status": "Failure", "code": 404}',
    '{"code": "not_found", "status": "404"}',
    "[" * 100_000,
    "null",
]
FOREIGN = [
    answer("404 Not Found", HTML, Content_Type="text/html"),
    answer("403 Forbidden", HTML),
    answer("401 Unauthorized", HTML, WWW_Authenticate="Basic"),
    answer("400 Bad Request", "The plain HTTP request was sent to HTTPS port"),
    answer("405 Not Allowed", HTML),
    answer("407 Proxy Authentication Required"),
    answer("411 Length Required", HTML),
    answer("413 Request Entity Too Large", HTML),
    answer("301 Moved Permanently", Location="http://127.0.0.1:9/agent/v1/enroll"),
    answer("302 Found", Location="http://portal.example/login?token=secret"),
    answer("307 Temporary Redirect", Location="/other"),
    answer("308 Permanent Redirect"),
    answer("502 Bad Gateway", HTML),
    answer("503 Service Unavailable", HTML, Retry_After="3600"),
    answer("200 OK", HTML, Content_Type="text/html"),
    answer("200 OK", "{}"),
    answer("200 OK", '{"host_id": 5, "credential": "dma_x"}'),
    answer("201 Created", '{"host_id": "x", "credential": "session"}'),
    answer("204 No Content"),
    b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"",
    *[answer("404 Not Found", body, Content_Type="application/json") for body in OTHER_CODES],
]


@pytest.mark.parametrize("given", FOREIGN, ids=lambda given: given[:40].decode())
def test_enrolls_once_the_gateway_is_there(
    make_agent: Callable[[], AgentProcess], given: bytes
) -> None:
    agent = make_agent()
    agent.settings["ENROLLMENT_TOKEN"] = TOKEN
    foreign = Foreign(given)
    with listening(foreign) as port:
        agent.settings["SERVER"] = f"http://127.0.0.1:{port}"
        agent.start()
        wait_until(lambda: len(foreign.heads) >= 3)
        assert agent.process is not None
        assert agent.process.poll() is None, "it waits"
    with FakeGateway(port=port) as gateway:
        gateway.next_poll()
        assert len(gateway.enrolments) == 1
        assert agent.terminate() == 0
    log = agent.log.read_text()
    assert log.count("enroll: ") <= 3, "one line for one reason, and for the moment between"
    assert "Traceback" not in log
    assert TOKEN not in log


def test_with_its_own_durations_it_enrolls_in_time() -> None:
    """Whatever the front asks for: the delays between tries stay far below a minute."""
    backoff = Backoff(first_seconds=1.0, longest_seconds=15.0)
    outage = Outage(backoff)
    assert all(outage.delay() <= 15.0 for _ in range(50))
    assert backoff.soon(0.0) <= 1.5
    assert backoff.soon(60.0) <= 2.0
    assert backoff.soon(86_400.0) <= 15.0


def test_a_redirect_is_named_and_never_followed_with_the_token(
    make_agent: Callable[[], AgentProcess],
) -> None:
    agent = make_agent()
    agent.settings["ENROLLMENT_TOKEN"] = TOKEN
    thief = Foreign(answer("200 OK", "{}"))
    with listening(thief) as stolen_to:
        place = f"http://user:secret@127.0.0.1:{stolen_to}/agent/v1/enroll?key=secret"
        with listening(Foreign(answer("302 Found", Location=place))) as port:
            agent.settings["SERVER"] = f"http://127.0.0.1:{port}"
            agent.start()
            wait_until(lambda: agent.log.exists() and "it redirects to" in agent.log.read_text())
            agent.kill()
    log = agent.log.read_text()
    assert f"http://127.0.0.1:{stolen_to}/agent/v1/enroll, which is not followed" in log
    assert "secret" not in log
    assert thief.heads == []


@pytest.mark.parametrize(
    "final",
    [
        problem(401, "enrollment_token_invalid"),
        problem(400, "invalid_request"),
        problem(404, "not_found"),
    ],
)
def test_what_the_gateway_itself_refuses_is_final(
    gateway: FakeGateway, make_agent: Callable[[], AgentProcess], final: Answer
) -> None:
    agent = make_agent()
    agent.settings["ENROLLMENT_TOKEN"] = TOKEN
    gateway.script("enroll", final)
    assert agent.call("run").returncode == 78
    assert len(gateway.enrolments) == 1


def test_enroll_by_hand_says_who_answers(make_agent: Callable[[], AgentProcess]) -> None:
    agent = make_agent()
    agent.settings["ENROLLMENT_TOKEN"] = TOKEN
    with listening(Foreign(answer("404 Not Found", HTML))) as port:
        agent.settings["SERVER"] = f"http://127.0.0.1:{port}"
        ended = agent.call("enroll")
    assert ended.returncode == 1
    assert "something else than a gateway answers" in ended.stderr
    assert TOKEN not in ended.stderr


@pytest.mark.parametrize(
    "foreign",
    [
        (404, HTML.encode(), {}),
        (403, HTML.encode(), {"Retry-After": "3600"}),
        (401, HTML.encode(), {}),
        (302, b"", {"Location": "http://portal.example/"}),
        (200, HTML.encode(), {}),
        (200, b'{"status": "ok"}', {}),
        (200, b'{"commands": {}, "results": {}}', {}),
        (400, HTML.encode(), {}),
        (502, HTML.encode(), {}),
    ],
    ids=lambda foreign: f"{foreign[0]} {foreign[1][:20].decode()}",
)
def test_polls_and_reports_go_on_after_what_is_not_the_gateways(
    gateway: FakeGateway, agent: AgentProcess, foreign: Answer
) -> None:
    gateway.script("poll", *[foreign] * 4)
    gateway.script("report", *[foreign] * 4)
    agent.start()
    sent = command("echo hello")
    gateway.deliver(sent)
    result = gateway.result(sent)
    assert result["stdout"]["head"] == "hello\n", "with its output: nothing was refused"
    assert len(gateway.reports) >= 5
    assert agent.terminate() == 0
    log = agent.log.read_text()
    assert "poll: " in log
    assert "report: " in log
    assert CREDENTIAL not in log


def test_a_code_is_the_gateways_only_in_a_problem_of_that_status() -> None:
    channel_answers = {
        json.dumps({"status": 401, "code": "credential_invalid"}): "credential_invalid",
        json.dumps({"status": 403, "code": "credential_invalid"}): "",
        json.dumps({"code": "credential_invalid"}): "",
        json.dumps({"status": 401, "code": 401}): "",
    }
    for body, code in channel_answers.items():
        with listening(Foreign(answer("401 Unauthorized", body))) as port:
            channel = Channel(Settings(server=f"http://127.0.0.1:{port}"))
            with pytest.raises(Refused) as caught:
                channel.post("poll", b"{}", timeout_seconds=5)
        assert caught.value.code == code


def test_an_outage_is_noticed_to_be_over_within_two_seconds(
    make_agent: Callable[[], AgentProcess],
) -> None:
    agent = make_agent().enrolled()
    for name in ("RETRY_FIRST_SECONDS", "RETRY_LONGEST_SECONDS", "POLL_WAIT_SECONDS"):
        del agent.settings[name]
    foreign = Foreign(answer("502 Bad Gateway", HTML))
    with listening(foreign) as port:
        agent.settings["SERVER"] = f"http://127.0.0.1:{port}"
        agent.start()
        wait_until(lambda: len(foreign.heads) >= 6)
    # Then nobody listens at all.
    wait_until(lambda: "Connection refused" in agent.log.read_text())
    with FakeGateway(port=port) as gateway:
        began = time.monotonic()
        sent = command("echo hello")
        gateway.deliver(sent)
        gateway.result(sent)
        assert time.monotonic() - began < 2.0
        agent.terminate()
