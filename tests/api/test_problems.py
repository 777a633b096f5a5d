"""Whatever goes wrong under /api is told as problem+json. Health, metrics, an absent database."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.core.management import call_command
from django.test import Client, override_settings
from django.urls import path

from devops_manager import metrics
from devops_manager.access.models import Role
from devops_manager.lib import problem as problems
from devops_manager.lib.requests import RequestIdFilter
from hosts_app.services import Heartbeat, record_heartbeats
from tests.queue_world import make_hosts, make_task, start
from tests.task_factories import Api, make_user

JSON = "application/json"


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = json.loads(response.content)
    assert body["status"] == status
    assert body["request_id"] == response["X-Request-Id"]
    return body


@pytest.fixture
def api(db: None) -> Api:
    return Api(make_user())


def send(api: Api, body: Any, content_type: str = JSON, **headers: str) -> Any:
    return api.client.post("/api/v1/tokens", body, content_type=content_type, headers=headers)


@pytest.mark.django_db
@pytest.mark.parametrize("debug", [True, False])
def test_an_address_that_is_not_there(debug: bool) -> None:
    with override_settings(DEBUG=debug):
        for address in ("/api/", "/api/v1/nothing", "/api/v2/hosts"):
            assert problem(Client().get(address), 404)["code"] == "not_found"
            posted = Client(enforce_csrf_checks=True).post(address, {}, JSON)
            assert problem(posted, 404)["code"] == "not_found"


def test_a_method_that_is_not_there(api: Api) -> None:
    answer = api.send("PUT", "tokens", {})
    assert problem(answer, 405)["code"] == "method_not_allowed"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded"])
def test_a_body_that_is_not_json(api: Api, content_type: str) -> None:
    assert problem(send(api, "name=x", content_type), 415)["code"] == "unsupported_media_type"


def test_an_answer_that_we_do_not_have(api: Api) -> None:
    answer = send(api, {"name": "x"}, Accept="application/xml")
    assert problem(answer, 406)["code"] == "not_acceptable"


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"name": "a", "name": "b"}', "name"),
        (b'{"name": NaN}', "name"),
        (b'{"name": "a\\u0000"}', "name"),
        (b"\xff", "body"),
        (b"[" * 100_000, "body"),
        (b"{", "body"),
    ],
)
def test_a_doubtful_body(api: Api, body: bytes, place: str) -> None:
    answer = problem(send(api, body), 400)
    assert answer["code"] == "malformed_json"
    assert list(answer["errors"]) == [place]


def test_a_body_beyond_the_limit(api: Api) -> None:
    body = b'"' + b"x" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE + b'"'
    assert problem(send(api, body), 413)["code"] == "too_large"


def test_a_body_without_a_length(api: Api) -> None:
    chunked = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": ""}
    answer = api.client.post("/api/v1/tokens", {"name": "x"}, JSON, **chunked)
    assert problem(answer, 411)["code"] == "length_required"


def test_a_compressed_body_is_not_guessed_at(api: Api) -> None:
    answer = send(api, b"\x1f\x8b", **{"Content-Encoding": "gzip"})
    assert problem(answer, 415)["code"] == "unsupported_media_type"


def defect(_request: Any) -> None:
    raise KeyError("secret detail")


urlpatterns = [path("api/defect", defect)]
handler500 = problems.server_error


@pytest.mark.django_db
@override_settings(ROOT_URLCONF=__name__, DEBUG=False)
def test_a_defect_of_ours() -> None:
    answer = Client(raise_request_exception=False).get("/api/defect")
    assert problem(answer, 500)["code"] == "internal_error"
    assert b"secret detail" not in answer.content


def test_the_log_line_of_a_refusal_has_the_request_id(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.handler.addFilter(RequestIdFilter())
    api.client.get("/api/v1/nothing", headers={"X-Request-Id": "abc-2"})
    (line,) = [record for record in caplog.records if record.name == "django.request"]
    assert (line.getMessage(), line.__dict__["request_id"]) == (
        "Not Found: /api/v1/nothing",
        "abc-2",
    )


def test_a_request_id_goes_through(api: Api) -> None:
    answer = api.client.get("/api/v1/nothing", headers={"X-Request-Id": "abc-1"})
    assert problem(answer, 404)["request_id"] == "abc-1"


ASK_WITHOUT_DATABASE = """
import json, sys
import django
django.setup()
from django.conf import settings
from django.test import Client
from devops_manager.lib.secrets import new_secret
token = {"Authorization": "Bearer " + new_secret("dmt").plain}
client = Client(raise_request_exception=False, headers={"Host": "localhost"})
client.cookies[settings.SESSION_COOKIE_NAME] = "x" * 32
answers = {}
for path, headers in (
    ("/api/v1/hosts", token), ("/tasks", {}), ("/", {}),
    ("/healthz", {}), ("/readyz", {}), ("/metrics", {}),
):
    answer = client.get(path, headers=headers)
    answers[path] = [
        answer.status_code, answer.get("Retry-After"), answer["Content-Type"],
        answer.content.decode(),
    ]
json.dump(answers, sys.stdout)
"""


@pytest.fixture(params=["0", "1"], ids=["plain", "debug"])
def answers(request: pytest.FixtureRequest, unused_port: int) -> dict[str, list[Any]]:
    """What a process answers whose PostgreSQL is not there."""
    environment = os.environ | {
        "DATABASE_URL": f"postgresql://nobody@127.0.0.1:{unused_port}/nothing",
        "DM_DB_POOL_TIMEOUT_SECONDS": "0.2",
        "DM_DEBUG": str(request.param),
        "DM_SECRET_KEY": "a-key-for-a-process-without-a-database",
        "DJANGO_SETTINGS_MODULE": "devops_manager.settings",
    }
    done = subprocess.run(
        [sys.executable, "-c", ASK_WITHOUT_DATABASE],
        env=environment,
        cwd=settings.BASE_DIR,
        capture_output=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, list[Any]] = json.loads(done.stdout)
    return found


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port that refuses connections: bound, and nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_without_a_database_everything_says_so_and_says_when_to_ask_again(
    answers: dict[str, list[Any]],
) -> None:
    status, retry_after, content_type, body = answers["/api/v1/hosts"]
    assert (status, content_type) == (503, "application/problem+json")
    assert json.loads(body)["code"] == "unavailable"
    assert int(retry_after) > 0
    for page in ("/tasks", "/"):
        status, retry_after, content_type, body = answers[page]
        assert (status, content_type) == (503, "text/html; charset=utf-8")
        assert int(retry_after) > 0
        assert "Traceback" not in body
    assert answers["/healthz"][0] == 200
    status, retry_after, _type, body = answers["/readyz"]
    assert (status, json.loads(body)["checks"]["database"]) == (503, "unreachable")
    assert int(retry_after) > 0
    assert "dm_database_up 0.0" in answers["/metrics"][3]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_health_and_figures_are_only_read(path: str) -> None:
    answer = Client(enforce_csrf_checks=True).post(path)
    assert (answer.status_code, answer["Allow"]) == (405, "GET, HEAD")


@pytest.mark.django_db
def test_ready_with_and_without_redis() -> None:
    assert Client().get("/readyz").json() == {
        "status": "ok",
        "checks": {"database": "ok", "redis": "ok"},
        "service": "web",
        "instance": "",
    }


@pytest.mark.django_db
def test_metrics_count_what_is_there_and_name_nobody() -> None:
    hosts = make_hosts(3)
    record_heartbeats([Heartbeat(host=hosts[0].pk)])
    start(make_task(hosts, steps=2))
    make_task(hosts)
    metrics._system.forget()
    text = Client().get("/metrics").content.decode()
    for line in (
        'dm_tasks{status="running"} 1.0',
        'dm_tasks{status="pending"} 1.0',
        'dm_command_rows{status="pending"} 3.0',
        'dm_command_rows{status="blocked"} 3.0',
        'dm_hosts{status="active"} 3.0',
        "dm_hosts_online 1.0",
        "dm_database_up 1.0",
    ):
        assert line in text.splitlines(), line
    assert "host-1" not in text
    started = time.monotonic()
    make_hosts(1)
    again = Client().get("/metrics").content.decode()
    if time.monotonic() - started < 4:
        assert 'dm_hosts{status="active"} 3.0' in again
    metrics._system.forget()


@pytest.mark.django_db
def test_the_description_is_complete_and_served_from_here(tmp_path: Any) -> None:
    call_command("spectacular", "--validate", "--fail-on-warn", f"--file={tmp_path / 'api.yml'}")
    api = Api(make_user(Role.VIEWER))
    schema = api.client.get("/api/schema?format=json").json()
    assert "/api/v1/hosts/{host_id}" in schema["paths"]
    default = schema["paths"]["/api/v1/me"]["get"]["responses"]["default"]
    assert list(default["content"]) == ["application/problem+json"]
    page = api.client.get("/api/docs").content.decode()
    assert "/static/drf_spectacular_sidecar/" in page
    assert "https://" not in page
    assert "cdn" not in page
