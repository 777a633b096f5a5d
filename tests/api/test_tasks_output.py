"""Output over the API: nothing altered, nothing unbounded, nothing of another task."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from hosts_app.models import Host
from tasks_app import live_output
from tasks_app.models import CommandHost, Task
from tasks_app.records import StreamOutput
from tasks_app.services import sweeps
from tests.queue_world import FakeAgent, make_hosts, only, started_task
from tests.task_factories import Api, make_user

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def api() -> Api:
    return Api(make_user())


def run(task: Task, host: Host, status: str = "completed", **fields: Any) -> None:
    """Let a host claim its next row of the only open task, and report it."""
    agent = FakeAgent(host)
    assert agent.report(only(agent.poll()).fence, status, **fields) == "accepted"


def logs(api: Api, task: Task, **query: Any) -> list[dict[str, Any]]:
    answer = api.get(f"tasks/{task.task_id}/logs", **query)
    assert answer.status_code == 200, answer.content
    return answer.json()["results"]


def ids(task: Task, host: Host) -> dict[str, str]:
    return {"command": str(task.commands.first().command_id), "host": str(host.host_id)}


def test_output_is_shown_with_its_row(api: Api) -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    assert logs(api, task) == []
    run(task, host, "failed", stdout=StreamOutput("你好\n".encode()), stderr=StreamOutput(b"no"))
    (entry,) = logs(api, task)
    assert (entry["row"]["status"], entry["row"]["exit_code"]) == ("failed", 1)
    assert entry["live"] is False
    assert entry["stdout"] == {
        "encoding": "text",
        "charset": "utf-8",
        "head": "你好\n",
        "tail": "",
        "omitted_bytes": 0,
        "total_bytes": 7,
        "exact": True,
    }
    assert entry["stderr"]["head"] == "no"


def test_bytes_that_are_no_text_are_exact_in_base64(api: Api) -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    data = b"\x00\xff\xfe<script>\x1b[31m"
    run(task, host, stdout=StreamOutput(data))
    (shown,) = logs(api, task)
    assert shown["stdout"]["exact"] is False
    assert shown["stdout"]["head"] == "\x00��<script>\x1b[31m"
    (exact,) = logs(api, task, encoding="base64", stream="stdout")
    assert base64.b64decode(exact["stdout"]["head"]) == data
    assert exact["stderr"] is None
    raw = api.get(f"tasks/{task.task_id}/logs/raw", **ids(task, host))
    assert raw.content == data
    assert raw["Content-Type"] == "application/octet-stream"
    assert raw["Content-Disposition"].startswith("attachment")


def test_what_was_dropped_is_counted(api: Api) -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    run(task, host, stdout=StreamOutput(b"h" * 100, b"t" * 100, 5000))
    (entry,) = logs(api, task)
    assert entry["stdout"]["head"] == "h" * 100
    assert entry["stdout"]["tail"] == "t" * 100
    assert (entry["stdout"]["omitted_bytes"], entry["stdout"]["total_bytes"]) == (5000, 5200)
    raw = api.get(f"tasks/{task.task_id}/logs/raw", **ids(task, host))
    assert raw.content == b"h" * 100 + b"t" * 100
    assert (raw["X-Output-Dropped-Bytes"], raw["X-Output-Head-Bytes"]) == ("5000", "100")


def test_long_output_is_cut_in_the_middle(api: Api) -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    run(task, host, stdout=StreamOutput(b"a" * 500 + b"b" * 500))
    (entry,) = logs(api, task, limit_bytes=100)
    stream = entry["stdout"]
    assert (stream["head"], stream["tail"]) == ("a" * 50, "b" * 50)
    assert (stream["omitted_bytes"], stream["total_bytes"]) == (900, 1000)


def test_cutting_cuts_no_character_in_two(api: Api) -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    text = "你" * 1000
    run(task, host, stdout=StreamOutput(text.encode()))
    (entry,) = logs(api, task, limit_bytes=100)
    stream = entry["stdout"]
    assert stream["exact"] is True
    assert set(stream["head"] + stream["tail"]) == {"你"}
    shown = len((stream["head"] + stream["tail"]).encode())
    assert shown + stream["omitted_bytes"] == stream["total_bytes"] == 3000


def test_logs_are_filtered(api: Api) -> None:
    one, two = make_hosts(2)
    task = started_task([one, two], steps=2)
    run(task, one)
    run(task, two, "failed")
    run(task, one)

    def shown(**query: Any) -> list[tuple[str, int]]:
        return [(e["row"]["hostname"], e["row"]["position"]) for e in logs(api, task, **query)]

    assert shown() == [("host-1", 1), ("host-2", 1), ("host-1", 2), ("host-2", 2)]
    assert shown(host=str(two.host_id)) == [("host-2", 1), ("host-2", 2)]
    assert shown(status="failed") == [("host-2", 1)]
    second = task.commands.get(position=2).command_id
    assert shown(command=str(second)) == [("host-1", 2), ("host-2", 2)]
    assert shown(page=2, size=3) == [("host-2", 2)]
    skipped = logs(api, task, status="skipped")
    assert skipped[0]["stdout"] is None


def test_a_running_row_shows_what_came_so_far(api: Api) -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    agent = FakeAgent(host)
    fence = only(agent.poll()).fence
    agent.poll()  # acknowledges the start
    live_output.append([live_output.Chunk(fence, "stdout", 0, "step 1 好".encode())])
    (entry,) = logs(api, task)
    assert entry["live"] is True
    assert entry["stdout"]["head"] == "step 1 好"
    raw = api.get(f"tasks/{task.task_id}/logs/raw", **ids(task, host))
    assert raw.content == "step 1 好".encode()


def test_live_output_is_followed_by_offset(api: Api) -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    agent = FakeAgent(host)
    fence = only(agent.poll()).fence
    agent.poll()
    path = f"tasks/{task.task_id}/logs/live"
    nothing = api.get(path, **ids(task, host)).json()
    assert (nothing["data"], nothing["next_offset"], nothing["ended"]) == ("", 0, False)

    sent = "ab你".encode()
    live_output.append([live_output.Chunk(fence, "stdout", 0, sent[:4])])
    first = api.get(path, **ids(task, host)).json()
    assert (first["data"], first["next_offset"]) == ("ab", 2)
    live_output.append([live_output.Chunk(fence, "stdout", 4, sent[4:])])
    second = api.get(path, **ids(task, host), offset=first["next_offset"]).json()
    assert (second["data"], second["next_offset"]) == ("你", 5)

    agent.report(fence)
    assert api.get(path, **ids(task, host), offset=5).json()["ended"] is True


def test_a_late_result_of_a_lost_row_has_its_output(api: Api) -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    agent = FakeAgent(host)
    fence = only(agent.poll()).fence
    CommandHost.objects.update(deadline=Now() - timedelta(seconds=1))
    sweeps.sweep_deadlines()
    (entry,) = logs(api, task, status="lost")
    assert entry["stdout"] is None
    agent.report(fence, stdout=StreamOutput(b"late"))
    (entry,) = logs(api, task, status="completed")
    assert entry["stdout"]["head"] == "late"


def test_equal_results_are_grouped(api: Api) -> None:
    hosts = make_hosts(8)
    task = started_task(hosts)
    for number, host in enumerate(hosts):
        same = number < 6
        data = b"ok\n" if same else b"different %s\n" % b"ab"[number % 2 : number % 2 + 1]
        run(
            task,
            host,
            "completed" if same else "failed",
            stdout=StreamOutput(data),
            output_digest=bytes([same]) * 32 if same else bytes([number]) * 32,
        )
    path = f"tasks/{task.task_id}/output-groups"
    command = ids(task, hosts[0])["command"]
    answer = api.get(path, command=command).json()
    assert answer["count"] == 3
    assert [(g["status"], g["exit_code"], g["count"]) for g in answer["results"]] == [
        ("completed", 0, 6),
        ("failed", 1, 1),
        ("failed", 1, 1),
    ]
    assert [h["hostname"] for h in answer["results"][0]["hosts"]] == [
        f"host-{number}" for number in range(1, 6)
    ]
    assert api.get(path, command=command, page=2, size=2).json()["results"][0]["count"] == 1


def test_a_step_of_another_task_is_not_found(api: Api) -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    run(task, host)
    other = started_task([host])
    foreign = ids(other, host)
    for path, query in (
        ("logs", {"command": foreign["command"]}),
        ("logs/raw", foreign),
        ("logs/live", foreign),
        ("output-groups", {"command": foreign["command"]}),
    ):
        assert api.get(f"tasks/{task.task_id}/{path}", **query).status_code == 404, path


def test_what_has_no_output_yet_is_not_found(api: Api) -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    assert api.get(f"tasks/{task.task_id}/logs/raw", **ids(task, host)).status_code == 404


def test_what_viewers_saw_stays_when_no_result_comes(api: Api) -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    agent = FakeAgent(host)
    fence = only(agent.poll()).fence
    agent.poll()
    live_output.append([live_output.Chunk(fence, "stdout", 0, b"as far as line 7\n")])
    (entry,) = logs(api, task)
    assert (entry["live"], entry["stdout"]["head"]) == (True, "as far as line 7\n")

    CommandHost.objects.filter(task=task).update(deadline=Now() - timedelta(seconds=1))
    assert sweeps.sweep_deadlines() == 1
    (entry,) = logs(api, task)
    assert (entry["row"]["status"], entry["live"]) == ("lost", False)
    assert entry["stdout"]["head"] == "as far as line 7\n"

    assert sweeps.sweep_seen_outputs() == 1
    assert sweeps.sweep_seen_outputs() == 0
    live_output._client().delete(live_output.key(fence, "stdout"))
    (entry,) = logs(api, task)
    assert entry["stdout"]["head"] == "as far as line 7\n"

    # A result that comes late says more.
    assert agent.report(fence, stdout=StreamOutput(b"all of it\n")) == "accepted"
    (entry,) = logs(api, task)
    assert (entry["row"]["status"], entry["stdout"]["head"]) == ("completed", "all of it\n")
