"""Answers are compressed where that is right; static files keep for ever under hashed names."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import brotli
import pytest
from django.conf import settings
from django.contrib.staticfiles.storage import staticfiles_storage
from django.core.management import call_command
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory, override_settings
from whitenoise.middleware import WhiteNoiseMiddleware

from devops_manager.access.models import Role
from devops_manager.lib.compression import CompressionMiddleware
from tests.pages_world import visitor
from tests.queue_world import make_hosts
from tests.task_factories import make_user

ASKS = {"Accept-Encoding": "gzip, deflate, br"}


def plain(response: Any) -> bytes:
    assert response["Content-Encoding"] == "gzip"
    return gzip.decompress(response.content)


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["/", "/hosts", "/api/v1/hosts", "/api/schema", "/nowhere"])
def test_pages_and_json_are_compressed_for_who_asks(address: str) -> None:
    make_hosts(20)
    client = visitor()
    compressed = client.get(address, headers=ASKS)
    for_others = client.get(address)
    assert not for_others.has_header("Content-Encoding")
    assert len(compressed.content) < len(for_others.content)
    assert int(compressed["Content-Length"]) == len(compressed.content)
    # Of the rest each answer has its own: the CSRF token, the request's id, the time.
    assert abs(len(plain(compressed)) - len(for_others.content)) < 200
    for response in (compressed, for_others):
        assert "Accept-Encoding" in response["Vary"]


@pytest.mark.django_db
def test_answers_with_a_one_time_secret_are_not_compressed() -> None:
    client = visitor()
    vera = make_user(Role.VIEWER, "vera")
    json = "application/json"
    token = {"name": "t", "role": "viewer"}
    answers = [
        client.post("/tokens", {**token, "expires": "1"}, headers=ASKS),
        client.post("/enrolment", {"name": "t", "expires": "1"}, headers=ASKS),
        client.post("/people", {"username": "olga", "role": "viewer"}, headers=ASKS),
        client.post(f"/people/{vera.pk}/reset", {"password": ""}, headers=ASKS),
        client.post("/api/v1/tokens", token, content_type=json, headers=ASKS),
        client.post("/api/v1/enrollment-tokens", {"name": "t2"}, content_type=json, headers=ASKS),
        client.post("/api/v1/people", {"username": "otto"}, content_type=json, headers=ASKS),
        client.post(
            f"/api/v1/people/{vera.pk}/reset-password", {}, content_type=json, headers=ASKS
        ),
    ]
    for answer in answers:
        assert answer.status_code in {200, 201}, answer.content
        assert not answer.has_header("Content-Encoding"), answer.request
        assert "no-store" in answer["Cache-Control"]


@pytest.mark.django_db
def test_the_csrf_token_is_another_in_each_page() -> None:
    client = visitor()
    tokens = {str(client.get("/tokens").context["csrf_token"]) for _time in range(3)}
    assert len(tokens) == 3


def compress(response: HttpResponse) -> HttpResponse:
    request = RequestFactory().get("/x", headers=ASKS)
    middleware = CompressionMiddleware(lambda _request: response)
    answer = middleware(request)
    assert isinstance(answer, HttpResponse)
    return answer


def test_what_has_an_etag_keeps_it_strong() -> None:
    response = HttpResponse("x" * 5000, headers={"ETag": '"7"'})
    assert compress(response)["ETag"] == '"7"'
    assert not response.has_header("Content-Encoding")


@pytest.mark.parametrize("kind", ["application/octet-stream", "image/png", "application/zip"])
def test_what_is_compressed_already_is_left_alone(kind: str) -> None:
    assert not compress(HttpResponse(b"x" * 5000, content_type=kind)).has_header("Content-Encoding")


def test_short_answers_are_left_alone() -> None:
    assert not compress(HttpResponse("ok")).has_header("Content-Encoding")


@pytest.fixture
def collected(tmp_path: Path) -> Iterator[Path]:
    """The project's own static files, collected as a deployment does."""
    root = tmp_path / "static"
    storages = {
        **settings.STORAGES,
        "staticfiles": {"BACKEND": "devops_manager.static_files.HashedFiles"},
    }
    finders = ["django.contrib.staticfiles.finders.FileSystemFinder"]
    with override_settings(STATIC_ROOT=str(root), STORAGES=storages, STATICFILES_FINDERS=finders):
        root.mkdir()
        yield root


def static(address: str, **headers: str) -> Any:
    def nothing(_request: HttpRequest) -> HttpResponse:
        return HttpResponse(status=404)

    middleware = WhiteNoiseMiddleware(nothing)
    return middleware(RequestFactory().get(address, headers=headers))


def body(response: Any) -> bytes:
    content: bytes = b"".join(response.streaming_content)
    response.close()
    return content


@pytest.mark.django_db
def test_collected_files_have_hashed_names_and_keep_for_ever(collected: Path) -> None:
    call_command("collectstatic", interactive=False, verbosity=0)
    address = staticfiles_storage.url("css/app.css")
    assert address.startswith("/static/css/app.")
    assert address != "/static/css/app.css"
    page = visitor().get("/").content.decode()
    assert f'href="{address}"' in page
    original = (Path(settings.BASE_DIR) / "static" / "css" / "app.css").read_bytes()
    as_brotli = static(address, **ASKS)
    assert as_brotli["Content-Encoding"] == "br"
    assert "immutable" in as_brotli["Cache-Control"]
    assert as_brotli["Vary"] == "Accept-Encoding"
    assert brotli.decompress(body(as_brotli)) == original
    as_gzip = static(address, **{"Accept-Encoding": "gzip"})
    assert gzip.decompress(body(as_gzip)) == original
    as_it_is = static(address)
    assert not as_it_is.has_header("Content-Encoding")
    assert body(as_it_is) == original
    named = static("/static/css/app.css")
    assert "immutable" not in named["Cache-Control"]
    named.close()


@pytest.mark.django_db
@pytest.mark.usefixtures("collected")
def test_before_a_collectstatic_the_source_trees_files_are_served() -> None:
    assert staticfiles_storage.url("css/app.css") == "/static/css/app.css"
    served = static("/static/css/app.css")
    assert served.status_code == 200
    served.close()


@pytest.mark.django_db
def test_every_static_file_of_a_page_is_there() -> None:
    client = Client()
    page = client.get("/login").content.decode()
    addresses = {part.split('"')[0] for part in page.split('"/static/')[1:]}
    assert addresses
    for address in addresses:
        response = client.get(f"/static/{address}")
        assert response.status_code == 200
        response.close()
