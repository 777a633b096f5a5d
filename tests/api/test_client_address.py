"""The web process: whose forwarding headers it believes, and where that shows."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.test import Client, override_settings

from devops_manager import env
from devops_manager.access.models import AuditEvent
from devops_manager.lib.client_address import Proxies
from tests.task_factories import Api, make_user

pytestmark = pytest.mark.django_db
LOOPBACK = Proxies.parse(["127.0.0.1"])
SAID = {"X-Forwarded-For": "6.6.6.6, 192.0.2.7", "X-Forwarded-Proto": "https"}


def audited_address(headers: dict[str, str], **meta: Any) -> str | None:
    api = Api(make_user())
    api.client.defaults.update(meta)
    assert api.post("host-groups", {"name": "web"}, **headers).status_code == 201
    return AuditEvent.objects.get(action="group.create").source_ip


@pytest.mark.parametrize("header", ["X-Forwarded-For", "X-Real-IP", "X-Client-IP", "Forwarded"])
@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "192.0.2.9"])
def test_nobody_is_believed_unless_configured(header: str, peer: str) -> None:
    said = "for=6.6.6.6" if header == "Forwarded" else "6.6.6.6"
    assert audited_address({header: said}, REMOTE_ADDR=peer) == peer


@override_settings(DM_TRUSTED_PROXIES=LOOPBACK)
def test_a_trusted_proxy_speaks_for_its_client() -> None:
    assert audited_address(SAID) == "192.0.2.7"


@override_settings(DM_TRUSTED_PROXIES=LOOPBACK)
def test_another_peer_does_not() -> None:
    assert audited_address(SAID, REMOTE_ADDR="192.0.2.9") == "192.0.2.9"


@override_settings(DM_TRUSTED_PROXIES=LOOPBACK)
def test_forwarded_is_read_too() -> None:
    said = 'for=6.6.6.6, for="[2001:db8::7]:443";proto=https'
    assert audited_address({"Forwarded": said}) == "2001:db8::7"


@pytest.mark.parametrize(("trusted", "status"), [(LOOPBACK, 200), (Proxies(), 301)])
def test_only_a_trusted_proxy_says_that_a_request_came_over_tls(
    trusted: Proxies, status: int
) -> None:
    header = ("HTTP_X_FORWARDED_PROTO", "https")
    with override_settings(
        DM_TRUSTED_PROXIES=trusted, SECURE_SSL_REDIRECT=True, SECURE_PROXY_SSL_HEADER=header
    ):
        assert Client().get("/login", headers=SAID).status_code == status


@pytest.mark.parametrize(("trusted", "warnings"), [(LOOPBACK, []), (Proxies(), ["access.W001"])])
def test_a_check_warns_of_tls_behind_nobody(trusted: Proxies, warnings: list[str]) -> None:
    with override_settings(DM_TLS=True, DM_TRUSTED_PROXIES=trusted):
        found = run_checks(tags=["security"], include_deployment_checks=True)
    assert [message.id for message in found if str(message.id).startswith("access")] == warnings


@pytest.mark.parametrize("value", ["10.0.0.1/8", "localhost", "*", "10.0.0.0/8 127.0.0.1"])
def test_a_wrong_setting_is_named(value: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="DM_TRUSTED_PROXIES"):
        env.proxies("DM_TRUSTED_PROXIES", value.split(","))
