"""What the pages show of a run: what changed, whose result, what was printed, made harmless."""

from __future__ import annotations

import hashlib
import re
import time
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from django.test import Client, override_settings
from django.utils import translation

from tasks_app.models import CommandHost
from tasks_app.records import StreamOutput
from tasks_app.services import admission, sweeps
from tests.pages_world import html, running_task, visitor
from tests.queue_world import (
    make_hosts,
    started_task,
    task_whose_host_is_gone_by_its_turn,
)

pytestmark = pytest.mark.django_db


def test_hosts_of_a_task_are_filtered() -> None:
    task, agents = running_task(make_hosts(3))
    agents[1].report(agents[1].started[0], "failed")
    client = visitor()
    text = html(client.get(f"/tasks/{task.task_id}?outcome=failed"))
    assert "host-2" in text
    assert "host-1" not in text
    text = html(client.get(f"/tasks/{task.task_id}?outcome=open&hostname=3"))
    assert "host-3" in text
    assert "host-1" not in text
    assert client.get(f"/tasks/{task.task_id}?outcome=odd").status_code == 400


EVIL = "\x1b]0;title\x07<script>alert(1)</script>\u202egnp.exe\x00\x1b[31mred\x1b[0m\n".encode()


def test_output_is_inert_and_says_what_is_missing() -> None:
    hosts = make_hosts(3)
    task, agents = running_task(hosts)
    digest = hashlib.sha256(b"same").digest()
    for agent in agents[:2]:
        agent.report(
            agent.started[0],
            stdout=StreamOutput(EVIL, b"\xff end", 4096),
            output_digest=digest,
        )
    agents[2].report(agents[2].started[0], "failed", stdout=StreamOutput(b"no\n"))
    client = visitor()
    for page in (
        f"/tasks/{task.task_id}/output",
        f"/tasks/{task.task_id}/hosts/{hosts[0].host_id}",
    ):
        text = html(client.get(page))
        assert "&lt;script&gt;alert(1)&lt;/script&gt;⟦U+202E⟧gnp.exe␀red" in text
        assert "\x1b" not in text
        assert "\u202e" not in text
        assert "4096 bytes are missing here" in text
        assert "� end" in text
        assert "not valid UTF-8" in text
    groups = html(client.get(f"/tasks/{task.task_id}/output"))
    assert "2 hosts" in groups
    assert re.search(r"\b1 host\b", groups)
    assert client.get(f"/tasks/{task.task_id}/output?step=7").status_code == 400


def test_what_an_agent_says_went_wrong_is_inert() -> None:
    (host,) = make_hosts(1)
    task, agents = running_task([host])
    agents[0].report(agents[0].started[0], "failed", error_message="no \x1b[31mshell\u202e <b>")
    client = visitor()
    for page in (f"/tasks/{task.task_id}", f"/tasks/{task.task_id}/hosts/{host.host_id}"):
        text = html(client.get(page))
        assert "no shell⟦U+202E⟧ &lt;b&gt;" in text
        assert not {"\x1b", "\u202e"} & set(text), page


def test_why_a_command_ended_is_said_in_the_readers_language() -> None:
    hosts = make_hosts(2)
    task, agents = running_task(hosts[:1])
    said = "There is no user <app> here."
    agents[0].report(agents[0].started[0], "failed", error_code="run_as_failed", error_message=said)
    late = started_task(hosts[1:])
    CommandHost.objects.filter(task=late).update(deadline=Now() - timedelta(seconds=1))
    assert sweeps.sweep_deadlines() == 1
    english = "There is no user &lt;app&gt; here."
    told = {
        "en": (english, "It could not be delivered within its delivery time."),
        "zh-hans": (
            f'无法以步骤指定的用户身份执行。 <span lang="en">{english}</span>',
            "未能在下发期限内送达主机。",
        ),
    }
    client = visitor()
    for language, sentences in told.items():
        client.cookies["django_language"] = language
        for shown, host, sentence in zip((task, late), hosts, sentences, strict=True):
            for page in (f"/tasks/{shown.task_id}", f"/tasks/{shown.task_id}/hosts/{host.host_id}"):
                assert sentence in html(client.get(page)), (language, page)


@override_settings(DM_MAX_CONCURRENT_TASKS=1)
def test_why_a_task_failed_in_the_queue_is_said_in_the_readers_language() -> None:
    task, host = task_whose_host_is_gone_by_its_turn()
    with translation.override("zh-hans"):
        admission.admit_tasks()
    client = visitor()
    assert f"host disabled: {host.host_id}" in html(client.get(f"/tasks/{task.task_id}"))
    client.cookies["django_language"] = "zh-hans"
    text = html(client.get(f"/tasks/{task.task_id}"))
    assert "轮到该任务时，目标所指定的对象已有缺失。" in text
    assert str(host.host_id) in text


def test_a_stream_is_a_file_that_no_browser_shows() -> None:
    hosts = make_hosts(1)
    task, agents = running_task(hosts)
    agents[0].report(agents[0].started[0], stdout=StreamOutput(EVIL))
    command = task.commands.get()
    address = f"/tasks/{task.task_id}/hosts/{hosts[0].host_id}/{command.command_id}"
    response = visitor().get(f"{address}/stdout")
    assert b"".join(response.streaming_content) == EVIL  # type: ignore[attr-defined]
    assert response["Content-Type"] == "application/octet-stream"
    assert response["Content-Disposition"].startswith("attachment")
    assert response["X-Content-Type-Options"] == "nosniff"
    assert visitor(name="b").get(f"{address}/stdin").status_code == 404


def seconds_for(client: Client, address: str) -> tuple[float, str]:
    """Return how long a page takes, the second time, and its text."""
    client.get(address)
    begun = time.perf_counter()
    text = html(client.get(address))
    return time.perf_counter() - begun, text


@pytest.mark.parametrize("steps", [1, 20])
def test_pages_of_large_outputs_are_there_within_a_second(steps: int) -> None:
    hosts = make_hosts(20)
    task, agents = running_task(hosts, steps=steps)
    line = b"2026-11-28 09:00:00 \x1b[32mINFO\x1b[0m  a line of a log \xe4\xbd\xa0\xe5\xa5\xbd\n"
    half = line * (131_072 // len(line))
    for number, agent in enumerate(agents):
        for step in range(steps if number == 0 else 1):
            fence = agent.started[-1]
            large = StreamOutput(half, half, 10_000_000)
            digest = hashlib.sha256(b"%d" % number).digest()
            agent.report(fence, stdout=large, stderr=large, output_digest=digest)
            if step + 1 < steps and number == 0:
                agent.poll()
                agent.poll()
    client = visitor()
    output, text = seconds_for(client, f"/tasks/{task.task_id}/output")
    assert "are missing here" in text
    assert len(text) < 2_000_000
    host, text = seconds_for(client, f"/tasks/{task.task_id}/hosts/{hosts[0].host_id}")
    assert text.count("are missing here") == 2 * steps
    assert len(text) < 4_000_000
    assert max(output, host) < 1


def test_what_has_ended_on_a_host_is_not_sent_again() -> None:
    (host,) = make_hosts(1)
    task, (agent,) = running_task([host], steps=2)
    agent.report(agent.started[0], stdout=StreamOutput(b"first\n"))
    agent.poll()
    agent.poll()
    client, address = visitor(), f"/tasks/{task.task_id}/hosts/{host.host_id}"
    page = html(client.get(address))
    assert "first" in page
    revision = re.search(r'data-revision="([^"]*)"', page)
    assert revision is not None
    seen = {"X-Live": f"{10**17}/{revision[1]}"}
    answer = html(client.get(address, headers=seen))
    assert 'id="step-2" data-live' in answer
    assert 'id="step-1"' not in answer
    assert 'id="host-steps"' not in answer
