"""Text is what it looks like: nothing that a page shows hides, turns or erases a part of itself."""

from __future__ import annotations

import html as markup
import re
from typing import Any

import pytest
from django.test import Client

from agents_app.models import EnrollmentToken
from devops_manager.access import audit
from devops_manager.access.actors import SYSTEM
from devops_manager.access.models import ApiToken, Role, User
from devops_manager.lib.one_line import FORGING
from hosts_app.models import Host, HostGroup, HostGroupMember
from tasks_app.models import Command, Task
from tasks_app.records import StreamOutput
from tests.pages_world import html, running_task, task_form, visitor
from tests.queue_world import make_hosts, make_task
from tests.task_factories import Api, make_user

pytestmark = pytest.mark.django_db

EVIL = "deploy \u202egnp.exe\u200b\x1b[31m\x9b2K\u3164\x7f\x08\r#"
SEEN = "deploy ⟦U+202E⟧gnp.exe⟦U+200B⟧␛[31m⟦U+009B⟧2K⟦U+3164⟧␡␈␍#"
LIST_PAGES = ["/", "/tasks", "/hosts", "/tokens", "/enrolment", "/tasks/new"]
HIDDEN = re.compile(f"(?![\\n\\t])[{FORGING}]")


def hidden_in(page: str) -> str | None:
    """Return what surrounds the first character that is not seen; boxes hold the exact text."""
    shown = re.sub(r"(?s)(<textarea[^>]*>).*?</textarea>", "", page)
    shown = re.sub(r'\bvalue="[^"]*"', "", shown)
    found = HIDDEN.search(markup.unescape(shown))
    if found is None:
        return None
    return ascii(markup.unescape(shown)[max(0, found.start() - 60) : found.end() + 20])


def world() -> tuple[Client, list[str]]:
    """Store what no door takes any more, as old data would be; return who looks, and where."""
    client = visitor(Role.ADMIN, name="old", staff=True)
    User.objects.filter(username="old").update(username=EVIL)
    owner = User.objects.get(username=EVIL)
    hosts = make_hosts(2)
    waiting = make_task(hosts, steps=2)
    running, (agent, _other) = running_task(hosts, steps=2)
    agent.report(agent.started[0], "failed", stdout=StreamOutput(EVIL.encode()), error_message=EVIL)
    Task.objects.update(name=EVIL, description=f"a\r\n{EVIL}", created_by=owner)
    Task.objects.filter(pk=waiting.pk).update(
        target={"groups": [EVIL], "tags": [EVIL], "exclude": {"groups": [EVIL], "tags": [EVIL]}}
    )
    Command.objects.update(
        name=EVIL, body=EVIL, interpreter=EVIL, parameters=[EVIL], run_as=EVIL,
        working_directory=EVIL, environment={"A": EVIL},
    )  # fmt: skip
    group = HostGroup.objects.create(name=EVIL, description=EVIL)
    for host in hosts:
        HostGroupMember.objects.create(host=host, group=group)
    Host.objects.update(
        hostname=EVIL, display_name=EVIL, reported_hostname=EVIL, os=EVIL, arch=EVIL,
        agent_version="1", tags=[EVIL], facts={EVIL: EVIL}, quarantine_reason=EVIL,
        machine_id="m" + EVIL,
    )  # fmt: skip
    ApiToken.objects.create(owner=owner, name=EVIL, prefix="p1", secret_hash=b"1")
    token = EnrollmentToken.objects.create(name=EVIL, prefix="p2", secret_hash=b"2")
    token.groups.add(group)
    for kind, key in (("task", running.task_id), ("host", hosts[0].host_id)):
        audit.record(
            actor=SYSTEM, action="host.rename", object_type=kind, object_ids=[str(key)],
            before={"hostname": EVIL}, after={"hostname": EVIL},
        )  # fmt: skip
    parts = ("", "/output", "/output?step=2", "/steps", "/trail", f"/hosts/{hosts[0].host_id}")
    pages = [f"/tasks/{task.task_id}{part}" for task in (running, waiting) for part in parts]
    pages += [f"/tasks/{waiting.task_id}/{part}" for part in ("edit", "start")]
    pages += [f"/tasks/new?copy={running.task_id}", f"/hosts/{hosts[0].host_id}"]
    return client, [*LIST_PAGES, *pages]


def test_no_page_hides_what_a_name_holds() -> None:
    client, pages = world()
    shown = set()
    for page in pages:
        response = client.get(page)
        assert response.status_code in {200, 404}, page
        text = html(response)
        assert hidden_in(text) is None, page
        if SEEN in markup.unescape(text):
            shown.add(page)
    assert len(shown) >= len(pages) - 3, set(pages) - shown


@pytest.mark.parametrize(
    "model",
    [
        "tasks_app/task", "tasks_app/command", "tasks_app/commandhost", "hosts_app/host",
        "hosts_app/hostgroup", "hosts_app/hostgroupmember", "access/user", "access/apitoken",
        "access/auditevent", "agents_app/enrollmenttoken", "hosts_app/hostheartbeat",
    ],
)  # fmt: skip
def test_no_list_or_record_of_the_administration_hides_it(model: str) -> None:
    client, _pages = world()
    listed = html(client.get(f"/admin/{model}/"))
    assert hidden_in(listed) is None
    record = re.search(rf'href="(/admin/{model}/[^/"]+/change/)[^"]*"', listed)
    if record is not None:
        assert hidden_in(html(client.get(record[1]))) is None


def test_a_copy_holds_the_exact_body_and_says_what_is_not_seen() -> None:
    (host,) = make_hosts(1)
    body = "echo safe \u202e# \u200b\nrm x"
    task = make_task([host])
    Command.objects.filter(task=task).update(body=body)
    page = html(visitor().get(f"/tasks/new?copy={task.task_id}"))
    boxes = re.findall(r"(?s)<textarea[^>]*name=\"s0-body\"[^>]*>\n?(.*?)</textarea>", page)
    assert [markup.unescape(box) for box in boxes] == [body]
    assert "This has characters that are not seen." in page
    assert "echo safe ⟦U+202E⟧# ⟦U+200B⟧\nrm x" in page
    assert "not seen" not in html(visitor(name="b").get("/tasks/new"))


REFUSED = [
    "deploy \u202egnp.exe",
    "web\u200b1",
    "a\x1b[31m",
    "a\nb",
    "a\u3164b",
    "\ufeffa",
    "a\ufe0f",
]


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_names_that_hide_something_are_refused(name: str) -> None:
    (host,) = make_hosts(1)
    api = Api(make_user(Role.ADMIN))
    step = {"body": "true"}
    target = {"hosts": [str(host.host_id)]}
    task: dict[str, Any] = {"name": "n", "target": target, "commands": [step]}
    for method, path, body in (
        ("POST", "tasks", task | {"name": name}),
        ("POST", "tasks", task | {"commands": [step | {"name": name}]}),
        ("POST", "host-groups", {"name": name}),
        ("POST", "tokens", {"name": name}),
        ("POST", "enrollment-tokens", {"name": name}),
        ("PATCH", f"hosts/{host.host_id}", {"tags": [name]}),
        ("PATCH", f"hosts/{host.host_id}", {"display_name": name}),
    ):
        answer = api.send(method, path, body)
        assert (answer.status_code, path) == (400, path)
        assert "name" in str(answer.json()["errors"]) or "tags" in str(answer.json()["errors"])


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_pages_and_administration_refuse_such_names_too(name: str) -> None:
    (host,) = make_hosts(1)
    client = visitor(staff=True)
    made = client.post("/tasks/new", task_form(host, name=name))
    assert made.status_code == 400
    assert hidden_in(html(made)) is None
    made = client.post("/tasks/new", task_form(host) | {"s0-name": name})
    assert made.status_code == 400
    change = {"display_name": "", "tags": name, "max_concurrency": "5", "output_charset": ""}
    refused = client.post(f"/hosts/{host.host_id}/change", change)
    # A tag's box splits at line ends.
    assert (refused.status_code == 400) == ("\n" not in name)
    for path, fields in (
        ("/tokens", {"name": name, "role": "viewer", "expires": "7"}),
        ("/enrolment", {"name": name, "expires": "7"}),
        ("/admin/hosts_app/hostgroup/add/", {"name": name, "description": ""}),
    ):
        answer = client.post(path, fields)
        assert answer.status_code in {200, 400}, path
    answer = client.post("/people", {"username": f"a{name}", "role": "viewer", "language": ""})
    assert answer.status_code == 400
    assert Task.objects.count() == ApiToken.objects.count() == HostGroup.objects.count() == 0
    assert EnrollmentToken.objects.count() == 0
    assert User.objects.count() == 1


def test_padding_of_names_is_trimmed_and_bodies_are_kept() -> None:
    (host,) = make_hosts(1)
    api = Api(make_user(Role.ADMIN))
    body = "echo '\u202e'  "
    answer = api.post(
        "tasks",
        {
            "name": " \tdeploy\u3000 ",
            "description": " any \u202e text ",
            "target": {"hosts": [str(host.host_id)]},
            "commands": [{"name": " one ", "body": body}],
        },
    )
    assert answer.status_code == 201, answer.content
    task = api.get(f"tasks/{answer.json()['task_id']}").json()
    assert (task["name"], task["commands"][0]["name"]) == ("deploy", "one")
    assert (task["description"], task["commands"][0]["body"]) == (" any \u202e text ", body)


def test_a_form_of_the_administration_holds_the_exact_text() -> None:
    client, _pages = world()
    group = HostGroup.objects.get()
    page = html(client.get(f"/admin/hosts_app/hostgroup/{group.pk}/change/"))
    assert SEEN in page
    assert f'value="{EVIL}"' in page
