"""Texts, accounts and warnings of steps: one rule for create, bulk, PUT, PATCH and the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hosts_app.models import Host
from tasks_app.models import Command
from tests.pages_world import html, task_form, visitor
from tests.queue_world import make_hosts
from tests.task_factories import Api, body_for, make_user

pytestmark = pytest.mark.django_db

Step = dict[str, Any]
Sender = Callable[[Host, Step], Any]


@pytest.fixture
def host() -> Host:
    return make_hosts(1)[0]


def api() -> Api:
    return Api(make_user())


def created(host: Host, step: Step) -> Any:
    return api().post("tasks", body_for(host, commands=[step]))


def created_in_bulk(host: Host, step: Step) -> Any:
    return api().post("tasks/bulk", {"tasks": [body_for(host, commands=[step])]})


def put(host: Host, step: Step) -> Any:
    caller = api()
    task_id = caller.post("tasks", body_for(host)).json()["task_id"]
    return caller.send("PUT", f"tasks/{task_id}", body_for(host, commands=[step]))


def patched(host: Host, step: Step) -> Any:
    caller = api()
    task_id = caller.post("tasks", body_for(host)).json()["task_id"]
    return caller.send("PATCH", f"tasks/{task_id}", {"commands": [step]})


ways = pytest.mark.parametrize("way", [created, created_in_bulk, put, patched])


def stored() -> Command:
    return Command.objects.get()


@ways
def test_the_lines_of_a_body_end_as_its_program_needs(way: Sender, host: Host) -> None:
    step = {
        "kind": "script",
        "body": "\ufeff#!/bin/sh\r\nset -e\r\necho ok\r\n",
        "parameters": ["a\r\nb", "\ufeff"],
        "environment": {"A": "x\r\ny\r\n"},
    }
    answer = way(host, step)
    assert answer.status_code in {200, 201}, answer.content
    command = stored()
    assert command.body == "#!/bin/sh\nset -e\necho ok\n"
    assert command.parameters == step["parameters"]
    assert command.environment == step["environment"]


@ways
def test_what_an_unknown_interpreter_reads_is_exact(way: Sender, host: Host) -> None:
    step = {"kind": "script", "interpreter": "pwsh", "body": "Write-Host 1\r\n"}
    assert way(host, step).status_code in {200, 201}
    assert stored().body == step["body"]


def test_a_body_of_nothing_but_a_mark_is_empty(host: Host) -> None:
    answer = created(host, {"body": "\ufeff"})
    assert answer.json()["errors"] == {"commands[0].body": ["Must not be empty."]}


def test_line_ends_that_go_do_not_count(host: Host) -> None:
    caller = api()
    for lines, status in ((32_768, 201), (32_769, 400)):
        body = body_for(host, commands=[{"body": "#\r\n" * lines}])
        assert caller.post("tasks", body).status_code == status


@ways
def test_a_first_line_that_is_not_used_is_told(way: Sender, host: Host) -> None:
    step = {"kind": "script", "interpreter": "/bin/bash", "body": "#!/bin/sh -e\nfalse\n"}
    answer = way(host, step)
    assert answer.status_code in {200, 201}, answer.content
    body = answer.json()
    (warned,) = body["results"][0]["warnings"] if "results" in body else body["warnings"]
    place = "tasks[0].commands[0]" if "results" in body else "commands[0]"
    assert warned["path"] == f"{place}.interpreter"
    assert warned["code"] == "shebang_not_used"
    assert "/bin/bash" in warned["text"]
    assert "#!/bin/sh -e" in warned["text"]


@ways
def test_nothing_is_told_where_all_is_meant(way: Sender, host: Host) -> None:
    body = way(host, {"kind": "script", "body": "#!/bin/sh -e\nfalse\n"}).json()
    assert (body["results"][0] if "results" in body else body)["warnings"] == []


def test_warnings_are_the_same_again_under_the_same_key(host: Host) -> None:
    caller = api()
    step = {"kind": "script", "interpreter": "/bin/bash", "body": "#!/bin/sh -e\n"}
    body, headers = body_for(host, commands=[step]), {"Idempotency-Key": "one"}
    first, again = (caller.post("tasks", body, **headers).json() for _ in range(2))
    assert first == again
    assert len(first["warnings"]) == 1


@pytest.mark.parametrize(
    "account",
    ["nobody", "65534", "0", "svc_app@corp.example", "CORP\\svc-app", "CORP+svc", "host$", "_apt",
     "o.brien", "münchen", "a" * 64],
)  # fmt: skip
def test_accounts_of_every_name_service(host: Host, account: str) -> None:
    assert created(host, {"body": "id", "run_as": account}).status_code == 201
    assert stored().run_as == account


@pytest.mark.parametrize(
    "account",
    ["root; rm", "-u", "a b", " root", "a\nb", "a\x00b", "a:b", "a/b", "$(id)", "`id`", "a'b",
     "a\u200bb", "a\u202eb", "\\root", "@x", "a" * 65, 0],
)  # fmt: skip
def test_what_is_no_account_is_refused(host: Host, account: Any) -> None:
    answer = created(host, {"body": "id", "run_as": account})
    assert list(answer.json()["errors"]) == ["commands[0].run_as"]


def test_the_page_keeps_texts_by_the_same_rule_and_tells_the_same(host: Host) -> None:
    client = visitor()
    form = task_form(
        host,
        **{
            "s0-kind": "script",
            "s0-body": "\ufeff#!/bin/sh -e\r\nfalse\r\n",
            "s0-interpreter": "/bin/bash",
            "s0-parameters": ' a \r\n"a\\r\\nb"\r\n',
            "s0-environment": "A= x \r\n",
            "s0-run_as": "CORP\\svc",
        },
    )
    response = client.post("/tasks/new", form)
    command = stored()
    assert command.body == "#!/bin/sh -e\nfalse\n"
    assert command.parameters == [" a ", "a\r\nb"]
    assert command.environment == {"A": " x "}
    told = "/bin/bash runs the script: its first line, #!/bin/sh -e, is not used"
    assert told in html(client.get(response.url))
    steps = html(client.get(f"{response.url}/steps"))
    assert told in steps
    edited = client.post(f"{response.url}/edit", {**form, "s0-interpreter": ""})
    assert told not in html(client.get(edited.url))
    assert "<code>/bin/sh -e</code>" in html(client.get(f"{response.url}/steps"))
