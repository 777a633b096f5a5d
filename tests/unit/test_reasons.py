"""Every error code that the product gives has a sentence for the pages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.utils import translation

from agents_app.agent.records import OUTPUT_DID_NOT_FIT
from agents_app.agent.supervise import never_started
from agents_app.protocol import RESULT_CANCELED, RESULT_INTERRUPTED
from devops_manager.pages.reasons import reason
from tasks_app.reasons import SAID, SENTENCES, Reason

ROOT = Path(__file__).parents[2]
AGENT = re.compile(
    r"""error_code="(\w+)"|StartError\(\s*"(\w+)"|RESULT_\w+: \(?"(\w+)",|error_code=(status),"""
)
SERVER = re.compile(r"THEN '(\w+)'|ELSE '(\w+)'")


def codes(pattern: re.Pattern[str], text: str) -> set[str]:
    return {code for found in pattern.findall(text) for code in found if code}


def test_every_code_has_a_sentence() -> None:
    agent = set().union(
        *(codes(AGENT, path.read_text()) for path in (ROOT / "agents_app/agent").glob("*.py"))
    )
    assert {"signal", "timeout", "run_as_failed", "agent_restarted"} <= agent
    assert {"timeout_work_may_go_on", "exec_failed", "working_directory_missing"} <= agent
    server: set[str] = set()
    for name in ("expire_rows", "unaccounted_end"):
        text = (ROOT / f"tasks_app/sql/{name}.sql").read_text()
        server |= codes(SERVER, text.split("error_code = CASE")[1].split("END,")[0])
    assert server == {"no_report", "delivery_time_over", "host_offline", "not_accounted_for"}
    asked = (ROOT / "hosts_app/selectors.py").read_text()
    target = {code for code in re.findall(r'code="(\w+)"', asked) if code != "not_found"}
    assert target >= {"empty_target", "unknown_target", "group_not_granted"}
    # never_started() gives the state as the code
    given = (agent - {"status"}) | {RESULT_CANCELED, RESULT_INTERRUPTED} | server | target
    assert given <= set(SENTENCES)


def test_what_agents_say_without_a_code_is_known() -> None:
    assert {OUTPUT_DID_NOT_FIT, never_started(RESULT_CANCELED).error_message} == SAID
    with translation.override("zh-hans"):
        assert all(reason("", said).said == "" for said in SAID)


@pytest.mark.parametrize(
    ("code", "message", "english", "chinese"),
    [
        ("timeout", "", ("It ran longer than its time limit and was ended.", ""), "超过"),
        ("timeout", "ran 5 s", ("", "ran 5 s"), "超过"),
        ("canceled_work_may_go_on", "docker may", ("", "docker may"), "其他服务的工作可能仍在继续"),
        ("odd\x1b[1m", "", ("odd", ""), "odd"),
        ("odd", "it broke", ("", "it broke"), ""),
        ("", "", ("", ""), ""),
    ],
)
def test_a_message_says_more_than_a_code(
    code: str, message: str, english: tuple[str, str], chinese: str
) -> None:
    with translation.override("en"):
        assert reason(code, message) == Reason(*english)
    with translation.override("zh-hans"):
        told = reason(code, message)
    assert told.said == message
    assert chinese in told.sentence
    assert bool(chinese) == bool(told.sentence)


def test_what_the_sentence_says_already_is_not_said_twice() -> None:
    said = "The host restarted while the command ran."
    with translation.override("zh-hans"):
        assert reason("host_restarted", said).said == ""
