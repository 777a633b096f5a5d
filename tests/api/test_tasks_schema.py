"""The OpenAPI description of tasks says what the API takes and what it answers."""

from __future__ import annotations

from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator

from tasks_app.services import drafts
from tests.queue_world import FakeAgent, make_hosts, only, started_task
from tests.task_factories import Api, body_for, make_user

pytestmark = pytest.mark.django_db(transaction=True)

OPERATIONS = {
    "tasks": {"get", "post"},
    "tasks/bulk": {"post"},
    "tasks/{task_id}": {"get", "put", "patch", "delete"},
    "tasks/{task_id}/start": {"post"},
    "tasks/{task_id}/stop": {"post"},
    "tasks/{task_id}/cancel": {"post"},
    "tasks/{task_id}/status": {"get"},
    "tasks/{task_id}/progress": {"get"},
    "tasks/{task_id}/logs": {"get"},
    "tasks/{task_id}/logs/raw": {"get"},
    "tasks/{task_id}/logs/live": {"get"},
    "tasks/{task_id}/hosts": {"get"},
    "tasks/{task_id}/commands": {"get"},
    "tasks/{task_id}/output-groups": {"get"},
    "hosts/{host_id}/tasks": {"get"},
    "stats": {"get"},
    "metrics/summary": {"get"},
}


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]


def component(schema: dict[str, Any], name: str) -> dict[str, Any]:
    return schema["components"]["schemas"][name]


def test_every_address_is_described(schema: dict[str, Any]) -> None:
    described = {path.removeprefix("/api/v1/"): set(what) for path, what in schema["paths"].items()}
    for path, methods in OPERATIONS.items():
        assert described[path] == methods, path
        for method in methods:
            operation = schema["paths"][f"/api/v1/{path}"][method]
            assert operation["description"], path
            assert operation["operationId"], path


def test_bodies_have_the_fields_that_are_read(schema: dict[str, Any]) -> None:
    assert set(component(schema, "TaskBodyRequest")["properties"]) == set(drafts.TASK_FIELDS)
    assert set(component(schema, "CommandBodyRequest")["properties"]) == set(drafts.COMMAND_FIELDS)
    assert set(component(schema, "TaskBodyRequest")["required"]) == {"name", "target", "commands"}
    assert component(schema, "CommandBodyRequest")["required"] == ["body"]


TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
}


def check(schema: dict[str, Any], node: dict[str, Any], value: Any, path: str) -> None:
    """Hold a value against its description: exact fields, types, enumerations, nulls."""
    kinds = node["type"] if isinstance(node.get("type"), list) else [node.get("type")]
    choices = node.get("oneOf", [])
    if value is None:
        assert "null" in kinds or {"type": "null"} in choices or "NullEnum" in str(choices), path
        return
    if "$ref" in node:
        check(schema, component(schema, node["$ref"].rsplit("/", 1)[1]), value, path)
        return
    for inner in node.get("allOf", []):
        check(schema, inner, value, path)
    if choices:  # one kind, or an enumeration, that may be blank or null
        check_one_of(schema, choices, value, path)
        return
    if "enum" in node:
        assert value in node["enum"], path
    kind = next((kind for kind in kinds if kind != "null"), None)
    if kind in TYPES:
        assert isinstance(value, TYPES[kind]), path
    elif kind == "array":
        assert isinstance(value, list), path
        for item in value:
            check(schema, node["items"], item, f"{path}[]")
    elif kind == "object":
        check_object(schema, node, value, path)


def check_one_of(
    schema: dict[str, Any], choices: list[dict[str, Any]], value: Any, path: str
) -> None:
    """Hold a value against descriptions of which one must hold."""
    wrong = []
    for one in choices:
        try:
            check(schema, one, value, path)
        except AssertionError as error:
            wrong.append(error)
        else:
            return
    raise AssertionError(path, wrong)


def check_object(schema: dict[str, Any], node: dict[str, Any], value: Any, path: str) -> None:
    """Hold an object against its properties, or its values against what they all are."""
    fields = node.get("properties", {})
    if fields:
        assert set(value) == set(fields), path
    for name, item in value.items():
        check(
            schema, fields.get(name, node.get("additionalProperties", {})), item, f"{path}.{name}"
        )


def answered(schema: dict[str, Any], path: str, method: str, status: int) -> dict[str, Any]:
    response = schema["paths"][f"/api/v1/{path}"][method]["responses"][str(status)]
    return response["content"]["application/json"]["schema"]


def test_answers_are_as_described(schema: dict[str, Any]) -> None:
    api = Api(make_user())
    good, open_host = make_hosts(2)
    task = started_task([good, open_host], steps=2)
    agent = FakeAgent(good)
    agent.report(only(agent.poll()).fence)
    FakeAgent(open_host).poll()
    ids = {"task_id": task.task_id, "host_id": good.host_id}
    command = str(task.commands.first().command_id)
    queries: dict[str, dict[str, str]] = {
        "tasks/{task_id}/output-groups": {"command": command},
        "tasks/{task_id}/logs/live": {"command": command, "host": str(good.host_id)},
        "tasks/{task_id}/progress": {"cursor": "0"},
    }
    for path, methods in OPERATIONS.items():
        if "get" in methods and path != "tasks/{task_id}/logs/raw":
            answer = api.get(path.format(**ids), **queries.get(path, {}))
            assert answer.status_code == 200, path
            check(schema, answered(schema, path, "get", 200), answer.json(), path)
    created = api.post("tasks", body_for(good))
    check(schema, answered(schema, "tasks", "post", 201), created.json(), "create")
    bulk = api.post("tasks/bulk", {"tasks": [body_for(good)]})
    check(schema, answered(schema, "tasks/bulk", "post", 201), bulk.json(), "bulk")
    task_id = created.json()["task_id"]
    changed = api.send("PATCH", f"tasks/{task_id}", {"name": "x"})
    described = answered(schema, "tasks/{task_id}", "patch", 200)
    check(schema, described, changed.json(), "change")
