"""How long polls are held: learned from what cuts them, tried again later, said once."""

from __future__ import annotations

import logging

import pytest

from agents_app.agent.patience import FIRST_PROBE_SECONDS, LONGEST_PROBE_SECONDS, Patience
from tests.agent.conftest import AgentProcess
from tests.agent.fake_gateway import FakeGateway, command
from tests.agent.on_the_way import Impatient, listening
from tests.agent.waiting import wait_until


def learned(cut_at: float = 20.0) -> Patience:
    patience = Patience(25.0)
    assert patience.cut(25.0, cut_at, 0.0, certain=True, how="it answers 504")
    return patience


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def count(log: pytest.LogCaptureFixture, level: int) -> int:
    return sum(record.levelno == level for record in log.records)


@pytest.mark.parametrize(
    ("cut_at", "hold"), [(20.0, 18.0), (24.9, 22.41), (26.0, 23.4), (5.0, 4.0), (1.2, 0.5)]
)
def test_a_gateway_timeout_shortens_the_hold_at_once(
    warnings: pytest.LogCaptureFixture, cut_at: float, hold: float
) -> None:
    assert learned(cut_at).hold_seconds(1.0) == pytest.approx(hold)
    assert count(warnings, logging.WARNING) == 1
    assert f"gives up after {cut_at:.1f} s (it answers 504)" in warnings.text


@pytest.mark.parametrize(
    ("asked", "waited"), [(25.0, 0.3), (25.0, 40.0), (25.0, 60.0), (0.0, 0.9), (5.0, 30.0)]
)
def test_what_is_no_matter_of_patience_changes_nothing(asked: float, waited: float) -> None:
    patience = Patience(25.0)
    assert not patience.cut(asked, waited, 0.0, certain=True, how="it answers 504")
    assert patience.hold_seconds(1.0) == 25.0


def test_a_connection_that_is_closed_once_may_have_been_the_gateways_end(
    warnings: pytest.LogCaptureFixture,
) -> None:
    patience = Patience(25.0)
    for waited in (7.0, 20.0, 12.0):
        assert patience.cut(25.0, waited, 0.0, certain=False, how="it closes")
        assert patience.hold_seconds(1.0) == 25.0
    patience.answered(25.0)
    assert patience.cut(25.0, 12.0, 0.0, certain=False, how="it closes")
    assert patience.hold_seconds(1.0) == 25.0
    assert warnings.records == []


def test_twice_after_the_same_time_it_is_a_proxy(warnings: pytest.LogCaptureFixture) -> None:
    patience = Patience(25.0)
    for waited in (20.0, 20.1):
        assert patience.cut(25.0, waited, 0.0, certain=False, how="it closes")
    assert patience.hold_seconds(1.0) == pytest.approx(18.09)
    assert count(warnings, logging.WARNING) == 1


def test_a_gateway_that_stands_still_teaches_nothing(warnings: pytest.LogCaptureFixture) -> None:
    """The hold that is known to be good passes, and the proxy gives up again."""
    patience = learned()
    assert not patience.cut(18.0, 20.0, 5.0, certain=True, how="it answers 504")
    assert patience.hold_seconds(6.0) == 18.0
    assert count(warnings, logging.WARNING) == 1


def test_an_even_less_patient_proxy_is_learned_too(warnings: pytest.LogCaptureFixture) -> None:
    patience = learned()
    assert patience.cut(18.0, 10.0, 5.0, certain=True, how="it answers 504")
    assert patience.hold_seconds(6.0) == 9.0
    assert count(warnings, logging.WARNING) == 2


def test_the_long_hold_is_tried_again_ever_more_rarely_and_without_a_word(
    warnings: pytest.LogCaptureFixture,
) -> None:
    patience, now, every = learned(), 0.0, FIRST_PROBE_SECONDS
    for _ in range(12):
        assert patience.hold_seconds(now + every - 1) == 18.0
        now += every
        assert patience.hold_seconds(now) == 25.0
        assert patience.cut(25.0, 20.0, now, certain=False, how="it closes")
        every = min(every * 2, LONGEST_PROBE_SECONDS)
        assert patience.hold_seconds(now + 1) == 18.0
    assert every == LONGEST_PROBE_SECONDS
    assert count(warnings, logging.WARNING) == 1


def test_a_proxy_that_became_patient_is_noticed(warnings: pytest.LogCaptureFixture) -> None:
    patience = learned()
    patience.answered(18.0)
    patience.answered(20.5)
    assert patience.hold_seconds(1.0) == 18.0
    patience.answered(25.0)
    assert patience.hold_seconds(1.0) == 25.0
    assert count(warnings, logging.INFO) == 1


def test_an_agent_learns_from_connections_that_are_closed(
    gateway: FakeGateway, agent: AgentProcess
) -> None:
    agent.settings["POLL_WAIT_SECONDS"] = "25"
    with listening(Impatient(gateway.port, 2.5)) as port:
        agent.settings["SERVER"] = f"http://127.0.0.1:{port}"
        agent.start()
        wait_until(lambda: "gives up after" in agent.log.read_text())
        # Only then: this gateway does not notice that a client left, and delivers once.
        gateway.wait_for(lambda: gateway.polls[-1]["wait_seconds"] < 2, "a shorter hold")
        sent = command("echo hello")
        gateway.deliver(sent)
        assert gateway.result(sent)["status"] == "completed"
        assert agent.terminate() == 0
    said = [line for line in agent.log.read_text().splitlines() if "WARNING" in line]
    assert len(said) == 1, said
    assert "(it closes)" in said[0]
