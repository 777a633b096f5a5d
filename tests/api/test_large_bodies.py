"""Bodies that are large on purpose: refused soon, with an answer that is small."""

from __future__ import annotations

import json
import uuid

import pytest
from django.test import Client

from tests.task_factories import Api, make_user

JSON = "application/json"


@pytest.fixture
def api(db: None) -> Api:
    return Api(make_user())


def test_signing_in_takes_a_small_body_only(db: None) -> None:
    body = json.dumps({"username": "x" * 20_000, "password": "y"})
    answer = Client().post("/api/v1/auth/login", body, content_type=JSON)
    assert answer.status_code == 413


def test_an_object_with_very_many_fields_is_refused_as_a_whole(api: Api) -> None:
    body = json.dumps({f"k{no}": 1 for no in range(5000)})
    answer = api.client.post("/api/v1/tasks", body, content_type=JSON)
    assert answer.status_code == 400
    assert answer.json()["errors"] == {"body": ["More than 1000 fields."]}


def test_an_answer_names_a_hundred_mistakes_at_most(api: Api) -> None:
    hosts = [f"not-an-id-{no}" for no in range(5000)]
    task = {"name": "x", "target": {"hosts": hosts}, "commands": [{"body": "true"}]}
    answer = api.client.post("/api/v1/tasks", json.dumps(task), content_type=JSON)
    assert answer.status_code == 400
    assert len(answer.json()["errors"]) <= 100
    assert len(answer.content) < 20_000


def test_a_list_beyond_its_limit_is_refused_before_its_entries_are_compared(api: Api) -> None:
    hosts = [str(uuid.uuid4()) for _ in range(50_000)]
    body = json.dumps({"hosts": hosts})
    answer = api.client.post("/api/v1/pending-hosts/approve", body, content_type=JSON)
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == ["hosts"]


@pytest.mark.parametrize("entry", [1, True, None, 1.5])
def test_a_number_is_not_taken_for_an_id(api: Api, entry: object) -> None:
    body = json.dumps({"hosts": [entry]})
    answer = api.client.post("/api/v1/pending-hosts/approve", body, content_type=JSON)
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == ["hosts[0]"]


@pytest.mark.parametrize("query", ["tag=%00&tag=x", "tag=x&tag=%00"])
def test_every_value_of_a_filter_is_looked_at(api: Api, query: str) -> None:
    answer = api.client.get(f"/api/v1/hosts?{query}")
    assert answer.status_code == 400
    assert list(answer.json()["errors"]) == ["tag"]


def test_what_is_wrong_beyond_a_hundred_places_is_told_of_in_the_detail(api: Api) -> None:
    hosts = {"hosts": [" x"] * 10_000}
    tasks = [{"name": "x", "target": hosts, "commands": [{"body": "true"}]}] * 75
    answer = api.client.post("/api/v1/tasks/bulk", json.dumps({"tasks": tasks}), content_type=JSON)
    assert answer.status_code == 400
    assert len(answer.json()["errors"]) == 100
    assert answer.json()["detail"].endswith("There are more mistakes than are named here.")


@pytest.mark.parametrize("path", ["tasks", "targets/preview", "host-groups"])
def test_a_long_key_does_not_come_back_whole(api: Api, path: str) -> None:
    body = json.dumps({"k" * 1_000_000: 1, "name": "x", "target": {"k" * 1_000_000: 1}})
    answer = api.client.post(f"/api/v1/{path}", body, content_type=JSON)
    assert answer.status_code == 400
    assert len(answer.content) < 2000


@pytest.mark.parametrize(
    ("path", "body", "place"),
    [("tasks", "null", "body"), ("tasks/bulk", '{"tasks":[null]}', "tasks[0]")],
)
def test_what_is_no_object_has_one_mistake(api: Api, path: str, body: str, place: str) -> None:
    answer = api.client.post(f"/api/v1/{path}", body, content_type=JSON)
    assert answer.json()["errors"] == {place: ["Must be an object."]}
