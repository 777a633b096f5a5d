"""Output in the encoding of its host: read as asked for, by API and page; downloads are exact."""

from __future__ import annotations

import re
from typing import Any

import pytest

from devops_manager.access.models import AuditEvent, Role
from hosts_app.models import Host
from tasks_app import live_output
from tasks_app.models import Task
from tasks_app.records import StreamOutput
from tests.pages_world import html, running_task, visitor
from tests.queue_world import FakeAgent, make_hosts, only, started_task
from tests.task_factories import Api, make_user

pytestmark = pytest.mark.django_db(transaction=True)

GBK = b"\304\343\272\303\n"
HELLO = "你好\n"


@pytest.fixture
def api() -> Api:
    return Api(make_user(Role.ADMIN))


def printed(data: StreamOutput) -> tuple[Task, Host]:
    (host,) = make_hosts(1)
    task, (agent,) = running_task([host])
    agent.report(agent.started[0], stdout=data)
    return task, host


def logs(api: Api, task: Task, **query: Any) -> dict[str, Any]:
    answer = api.get(f"tasks/{task.task_id}/logs", **query)
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()["results"][0]["stdout"]
    return found


def ids(task: Task, host: Host) -> dict[str, str]:
    return {"command": str(task.commands.get().command_id), "host": str(host.host_id)}


@pytest.mark.parametrize("name", ["gb18030", "GB18030", "GBK", "gbk", "cp936", "GB2312"])
def test_output_is_read_in_the_charset_asked_for(api: Api, name: str) -> None:
    task, _host = printed(StreamOutput(GBK))
    unread = logs(api, task)
    assert (unread["charset"], unread["exact"]) == ("utf-8", False)
    read = logs(api, task, charset=name)
    assert (read["charset"], read["head"], read["exact"]) == ("gb18030", HELLO, True)
    assert read["total_bytes"] == len(GBK)


@pytest.mark.parametrize("path", ["logs", "logs/live"])
def test_an_unknown_charset_is_refused_by_name(api: Api, path: str) -> None:
    task, host = printed(StreamOutput(GBK))
    row = ids(task, host) if path == "logs/live" else {}
    for name in ("klingon", "idna", "rot13", "utf-16", "x" * 3000):
        answer = api.get(f"tasks/{task.task_id}/{path}", charset=name, **row)
        assert answer.status_code == 400, name
        (sentence,) = answer.json()["errors"]["charset"]
        assert name[:40] in sentence
        assert "gb18030" in sentence
        assert len(sentence) < 300


def test_a_host_has_a_charset_of_its_own(api: Api) -> None:
    task, host = printed(StreamOutput(GBK))
    path = f"hosts/{host.host_id}"
    assert api.get(path).json()["output_charset"] == ""
    refused = api.send("PATCH", path, {"output_charset": "klingon"})
    assert refused.status_code == 400
    assert "klingon" in refused.json()["errors"]["output_charset"][0]
    changed = api.send("PATCH", path, {"output_charset": "GBK"})
    assert (changed.status_code, changed.json()["output_charset"]) == (200, "gb18030")
    event = AuditEvent.objects.get(action="host.update")
    assert (event.before, event.after) == ({"output_charset": ""}, {"output_charset": "gb18030"})
    assert logs(api, task)["head"] == HELLO
    assert logs(api, task, charset="utf-8")["exact"] is False
    page = html(visitor(name="looker").get(f"/tasks/{task.task_id}/hosts/{host.host_id}"))
    assert "你好" in page
    assert api.send("PATCH", path, {"output_charset": "UTF-8"}).json()["output_charset"] == ""


def test_the_page_of_a_host_sets_its_charset() -> None:
    (host,) = make_hosts(1)
    client = visitor(name="looker")
    page = html(client.get(f"/hosts/{host.host_id}"))
    assert "GB18030 (GBK)" in page
    form = {"display_name": "", "tags": "", "max_concurrency": "5", "output_charset": "shift_jis"}
    assert client.post(f"/hosts/{host.host_id}/change", form).status_code == 302
    host.refresh_from_db()
    assert host.output_charset == "shift_jis"
    page = html(client.get(f"/hosts/{host.host_id}"))
    assert '<option value="shift_jis" selected>' in page


def test_pages_read_output_in_the_charset_chosen() -> None:
    hosts = make_hosts(1)
    task, (agent,) = running_task(hosts, steps=2)
    agent.report(agent.started[0], stdout=StreamOutput(GBK))
    client = visitor(name="looker")
    for address in (
        f"/tasks/{task.task_id}/output",
        f"/tasks/{task.task_id}/hosts/{hosts[0].host_id}",
    ):
        page = html(client.get(address))
        assert "not valid UTF-8" in page
        assert "你好" not in page
        assert '<option value="gb18030">GB18030 (GBK)</option>' in page
        page = html(client.get(f"{address}?charset=gb18030"))
        assert "你好" in page
        assert "not valid" not in page
        assert '<option value="gb18030" selected>' in page
        assert re.search(r'data-url="[^"]*charset=gb18030"', page)
        wrong = html(client.get(f"{address}?charset=euc-kr"))
        assert "not valid UTF-8" not in wrong
        assert client.get(f"{address}?charset=klingon").status_code == 400
    page = html(client.get(f"/tasks/{task.task_id}/output?charset=gb18030&page=1"))
    assert 'href="?charset=gb18030&amp;step=2"' in page
    assert f'hosts/{hosts[0].host_id}?charset=gb18030"' in page
    second = html(client.get(f"/tasks/{task.task_id}/output?charset=gb18030&step=2"))
    assert '<input type="hidden" name="step" value="2">' in second


def test_what_cannot_be_read_names_the_charset_chosen() -> None:
    task, host = printed(StreamOutput(b"\xff\xff end"))
    address = f"/tasks/{task.task_id}/hosts/{host.host_id}"
    assert "not valid GB18030 (GBK)" in html(visitor(name="looker").get(f"{address}?charset=gbk"))


def test_downloads_are_exact_and_say_in_headers_what_is_missing(api: Api) -> None:
    task, host = printed(StreamOutput(GBK, b"\xe3tail", 4096))
    row = ids(task, host)
    raw = api.get(f"tasks/{task.task_id}/logs/raw", **row)
    address = f"/tasks/{task.task_id}/hosts/{host.host_id}/{row['command']}/stdout"
    download = visitor(name="looker").get(address)
    content = b"".join(download.streaming_content)  # type: ignore[attr-defined]
    assert raw.content == content == GBK + b"\xe3tail"
    for answer in (raw, download):
        assert answer["X-Output-Dropped-Bytes"] == "4096"
        assert answer["X-Output-Head-Bytes"] == str(len(GBK))


def test_downloads_of_whole_streams_say_that_nothing_is_missing(api: Api) -> None:
    task, host = printed(StreamOutput(GBK))
    raw = api.get(f"tasks/{task.task_id}/logs/raw", **ids(task, host))
    assert raw.content == GBK
    assert (raw["X-Output-Dropped-Bytes"], raw["X-Output-Head-Bytes"]) == ("0", str(len(GBK)))


@pytest.mark.parametrize("limit", [64, 66, 70, 100, 4000])
@pytest.mark.parametrize("charset", ["gb18030", "shift_jis", "big5", "euc-jp"])
def test_no_double_byte_is_cut_by_our_own_cutting(api: Api, charset: str, limit: int) -> None:
    text = "a" + "日本" * 500
    task, _host = printed(StreamOutput(text.encode(charset)))
    stream = logs(api, task, charset=charset, limit_bytes=limit)
    assert stream["exact"] is True
    assert set(stream["head"] + stream["tail"]) == {"a", "日", "本"}
    shown = len((stream["head"] + stream["tail"]).encode(charset))
    assert shown + stream["omitted_bytes"] == stream["total_bytes"]


def test_a_character_that_head_and_tail_share_is_whole(api: Api) -> None:
    for data, charset in ((GBK, "gbk"), (HELLO.encode(), "utf-8")):
        task, _host = printed(StreamOutput(data[:3], data[3:]))
        stream = logs(api, task, charset=charset)
        assert stream["head"] + stream["tail"] == HELLO
        assert (stream["exact"], stream["omitted_bytes"]) == (True, 0)


def test_a_running_stream_is_followed_by_whole_characters(api: Api) -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    agent = FakeAgent(host)
    fence = only(agent.poll()).fence
    agent.poll()
    path, row = f"tasks/{task.task_id}/logs/live", ids(task, host)
    text, offset = "", 0
    for at in range(len(GBK)):
        live_output.append([live_output.Chunk(fence, "stdout", at, GBK[at : at + 1])])
        piece = api.get(path, **row, offset=offset, charset="GBK").json()
        assert (piece["charset"], piece["exact"]) == ("gb18030", True)
        text, offset = text + piece["data"], piece["next_offset"]
        so_far = logs(api, task, charset="gbk")
        assert (so_far["head"], so_far["exact"], so_far["omitted_bytes"]) == (text, True, 0)
    assert (text, offset) == (HELLO, len(GBK))
    page = html(
        visitor(name="looker").get(f"/tasks/{task.task_id}/hosts/{host.host_id}?charset=gbk")
    )
    assert "你好" in page


def test_what_an_ended_stream_left_of_a_character_is_told(api: Api) -> None:
    (host,) = make_hosts(1)
    task = started_task([host])
    agent = FakeAgent(host)
    fence = only(agent.poll()).fence
    agent.poll()
    live_output.append([live_output.Chunk(fence, "stdout", 0, GBK[:3])])
    agent.report(fence, stdout=StreamOutput(GBK[:3]))
    piece = api.get(f"tasks/{task.task_id}/logs/live", **ids(task, host), charset="gbk").json()
    assert (piece["data"], piece["exact"], piece["next_offset"]) == ("你\ufffd", False, 3)
    assert logs(api, task, charset="gbk")["head"] == "你\ufffd"


def test_an_unfinished_escape_hides_nothing(api: Api) -> None:
    (host,) = make_hosts(1)
    task, (agent,) = running_task([host])
    data = b"before\n\033]0;build\nFAILED: disk full\n"
    agent.report(agent.started[0], "failed", stdout=StreamOutput(data))
    assert "FAILED: disk full" in logs(api, task)["head"]
    client = visitor(name="looker")
    for address in (
        f"/tasks/{task.task_id}/output",
        f"/tasks/{task.task_id}/hosts/{host.host_id}",
    ):
        page = html(client.get(address))
        assert "before\n␛]0;build\nFAILED: disk full" in page
        assert "\x1b" not in page
