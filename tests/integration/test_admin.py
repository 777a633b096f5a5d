"""The admin: every model is there, no page loads a table, what the machine writes is read-only."""

from __future__ import annotations

import re

import pytest
from django.apps import apps
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from agents_app.models import AgentCredential
from devops_manager.access.models import AuditEvent, Role
from devops_manager.access.record_admin import COUNT_AT_MOST, BoundedPaginator, RecordAdmin
from hosts_app.models import Host, HostGroup, HostSession
from hosts_app.states import HostStatus
from tasks_app.admin_start import start_tasks
from tasks_app.models import CommandHost, CommandOutput, Task
from tests.factories import make_enrolled_host
from tests.pages_world import html, running_task, visitor
from tests.queue_world import FakeAgent, make_hosts, make_task, start

pytestmark = pytest.mark.django_db
OURS = [
    model
    for label in ("access", "hosts_app", "tasks_app", "agents_app")
    for model in apps.get_app_config(label).get_models()
    # Its key has several columns, which Django's admin cannot address.
    if model is not CommandOutput
]
MACHINE_WRITTEN = (Task, CommandHost, AuditEvent, Host, HostSession, AgentCredential)


def list_address(model: type) -> str:
    meta = model._meta  # type: ignore[attr-defined]
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_changelist")


@pytest.fixture
def staff() -> Client:
    return visitor(staff=True)


@pytest.fixture
def a_little_of_everything() -> Host:
    host = make_enrolled_host().host
    agent = FakeAgent(host)
    start(make_task([host], steps=2))
    agent.poll()
    agent.report(agent.started[0])
    return host


def test_every_model_is_registered_with_bounded_lists() -> None:
    for model in OURS:
        registered = admin.site._registry.get(model)
        assert isinstance(registered, RecordAdmin), model
        assert not registered.show_full_result_count
        assert registered.paginator is BoundedPaginator
        assert registered.list_per_page <= 50
        assert registered.get_list_display(None) != ("__str__",), model  # type: ignore[arg-type]


@pytest.mark.usefixtures("a_little_of_everything")
@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
def test_lists_searches_and_records_open(staff: Client, model: type) -> None:
    address = list_address(model)
    assert staff.get(address).status_code == 200
    assert staff.get(address, {"q": "web-1"}).status_code == 200
    record = model.objects.first()  # type: ignore[attr-defined]
    if record is not None:
        meta = model._meta  # type: ignore[attr-defined]
        change = reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[record.pk])
        assert staff.get(change).status_code == 200


def test_a_list_of_hosts_takes_few_statements(
    staff: Client, django_assert_max_num_queries: object
) -> None:
    make_hosts(130)
    with django_assert_max_num_queries(8):  # type: ignore[operator]
        text = html(staff.get(list_address(Host)))
    assert text.count('name="_selected_action"') == 50


def test_counting_stops() -> None:
    make_hosts(3)
    counted = BoundedPaginator(Host.objects.order_by("id"), 50)
    assert counted.count == 3
    assert f"LIMIT {COUNT_AT_MOST}" in str(Host.objects.order_by()[:COUNT_AT_MOST].query)


@pytest.mark.parametrize("model", MACHINE_WRITTEN, ids=lambda model: model.__name__)
def test_what_the_machine_writes_is_read_only(
    staff: Client, a_little_of_everything: Host, model: type
) -> None:
    meta = model._meta  # type: ignore[attr-defined]
    name = f"admin:{meta.app_label}_{meta.model_name}"
    assert staff.get(reverse(f"{name}_add")).status_code == 403
    record = model.objects.first()  # type: ignore[attr-defined]
    pk = record.pk if record is not None else 1
    assert staff.post(reverse(f"{name}_change", args=[pk]), {"status": "x"}).status_code == 403
    assert staff.post(reverse(f"{name}_delete", args=[pk]), {"post": "yes"}).status_code == 403


def test_only_administrators_of_staff_come_in() -> None:
    for role in (Role.VIEWER, Role.OPERATOR, Role.APPROVER):
        assert visitor(role, staff=True).get(list_address(Host)).status_code == 403
    assert visitor(name="no-staff").get(list_address(Host)).status_code == 302


def test_actions_go_through_services(staff: Client) -> None:
    waiting = Host.objects.create(hostname="new")
    action = {"action": "approve", "_selected_action": [waiting.pk]}
    staff.post(list_address(Host), action)
    waiting.refresh_from_db()
    assert waiting.status == HostStatus.ACTIVE
    assert AuditEvent.objects.filter(action="host.approve").count() == 1
    refused = staff.post(list_address(Host), action, follow=True)
    assert 'class="error"' in html(refused)
    task = start(make_task([waiting]))
    cancel = {"action": "cancel_tasks", "_selected_action": [task.pk], "confirmed": "yes"}
    staff.post(list_address(Task), cancel)
    task.refresh_from_db()
    assert task.status == "canceled"


ASKED_FIRST = [
    (Task, "stop_tasks"),
    (Task, "cancel_tasks"),
    (Host, "reject"),
    (Host, "disable"),
    (Host, "release"),
    (Host, "revoke"),
]


@pytest.mark.parametrize(("model", "action"), ASKED_FIRST)
def test_actions_that_end_something_count_and_name_it_first(
    staff: Client, model: type, action: str
) -> None:
    hosts = make_hosts(23)
    chosen = hosts if model is Host else [make_task([host]) for host in hosts]
    before = list(AuditEvent.objects.values_list("pk", flat=True))
    ids = [one.pk for one in chosen]
    asked = staff.post(list_address(model), {"action": action, "_selected_action": ids})
    text = html(asked)
    assert asked.status_code == 200
    assert " 23 " in text.split("<h1>")[1].split("</h1>")[0]
    names = re.findall("<li>(.*?)</li>", text.split("</h1>")[1])
    assert len(names) == 21
    assert names[20] == "and 3 more"
    assert {*names[:20]} <= {str(one) for one in chosen}
    assert all(f'name="_selected_action" value="{pk}"' in text for pk in ids)
    assert list(AuditEvent.objects.values_list("pk", flat=True)) == before


def test_the_question_names_what_runs_now(staff: Client) -> None:
    (host,) = make_hosts(1)
    task, _agents = running_task([host])
    ask = {"action": "cancel_tasks", "_selected_action": [task.pk]}
    text = html(staff.post(list_address(Task), ask))
    assert "1 command is delivered or running now, on 1 of the hosts." in text
    task.refresh_from_db()
    assert task.cancel_requested_at is None


def test_a_question_is_about_what_was_seen_not_about_all_there_is(staff: Client) -> None:
    (host,) = make_hosts(1)
    ask = {"action": "disable", "_selected_action": [host.pk], "select_across": "1"}
    text = html(staff.post(list_address(Host), ask))
    assert 'name="select_across"' not in text.split("</h1>")[1]
    Host.objects.bulk_create(Host(hostname=f"m-{at}", status="active") for at in range(500))
    refused = html(staff.post(list_address(Host), ask, follow=True))
    assert "Choose at most 500 at once" in refused
    assert not Host.objects.filter(status="disabled").exists()


def test_every_action_of_the_admin_asks_first_unless_it_only_gives() -> None:
    # Django asks before a deletion; a start shows its plan first: test_pages_start.
    direct = {"approve", "enable", "delete_selected", start_tasks}
    for model, registered in admin.site._registry.items():
        for name in registered.actions or ():
            assert name in direct or (model, name) in ASKED_FIRST, (model, name)


def test_groups_are_made_and_deleted_with_audit(staff: Client) -> None:
    staff.post(reverse("admin:hosts_app_hostgroup_add"), {"name": "web", "description": ""})
    group = HostGroup.objects.get()
    staff.post(reverse("admin:hosts_app_hostgroup_delete", args=[group.pk]), {"post": "yes"})
    actions = list(AuditEvent.objects.order_by("id").values_list("action", flat=True))
    assert actions == ["hostgroup.create", "hostgroup.delete"]


def test_a_group_whose_name_would_show_as_another_is_refused(staff: Client) -> None:
    add = reverse("admin:hosts_app_hostgroup_add")
    answer = staff.post(add, {"name": "web\u202egnp", "description": ""})
    assert "Must be one line without control or invisible characters." in html(answer)
    assert not HostGroup.objects.exists()
