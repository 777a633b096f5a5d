"""The web process as it is started: behind a real nginx, and what many sign-ins at once cost."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from devops_manager.access.hashers import BoundedArgon2PasswordHasher
from devops_manager.access.models import AuditEvent, Role, User
from devops_manager.embedded.ports import free_port
from devops_manager.embedded.process import die_with_parent
from tests.web_process import WebProcess

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "correct horse battery"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
LIMIT = 10
# Every address of 127.0.0.0/8 is this machine, so a test may come from several.
CLIENT, OTHER = "127.0.0.21", "127.0.0.22"
CONFIGURATION = """
daemon off;
master_process off;
pid {prefix}/nginx.pid;
error_log {prefix}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {prefix}/body;
    proxy_temp_path {prefix}/proxy;
    fastcgi_temp_path {prefix}/fastcgi;
    uwsgi_temp_path {prefix}/uwsgi;
    scgi_temp_path {prefix}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{web};
            proxy_bind 127.0.0.1;
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
        }}
    }}
}}
"""


def make_people(*names: str) -> None:
    # The tests' own settings have a fast hash; the process has the real ones.
    hashed = BoundedArgon2PasswordHasher().encode(PASSWORD, "saltsaltsaltsaltsalt12")
    for name in names:
        User.objects.create(username=name, password=hashed, role=Role.ADMIN)


@contextmanager
def nginx_before(web: WebProcess, prefix: Path) -> Iterator[str]:
    """Run nginx with files of its own; give its address."""
    assert NGINX is not None, "nginx is not installed"
    port = free_port()
    (prefix / "nginx.conf").write_text(
        CONFIGURATION.format(prefix=prefix, port=port, web=web.port), encoding="utf-8"
    )
    process = subprocess.Popen(
        [NGINX, "-p", str(prefix), "-c", str(prefix / "nginx.conf"), "-e", "stderr"],
        preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                httpx.get(f"{url}/healthz", trust_env=False).raise_for_status()
                break
            except httpx.HTTPError:
                assert process.poll() is None
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait(10)


def sign_in(url: str, password: str, *, source: str = "", name: str = "admin", **said: str) -> int:
    headers = {key.replace("_", "-"): value for key, value in said.items()}
    transport = httpx.HTTPTransport(local_address=source or None)
    with httpx.Client(transport=transport, trust_env=False, timeout=120) as client:
        body = {"username": name, "password": password}
        return client.post(f"{url}/api/v1/auth/login", json=body, headers=headers).status_code


def test_behind_nginx_limits_and_audit_go_by_the_clients_address(tmp_path: Path) -> None:
    """Case forwarded-for."""
    make_people("admin")
    with (
        WebProcess(tmp_path / "web.log", DM_TRUSTED_PROXIES="127.0.0.1") as web,
        nginx_before(web, tmp_path) as url,
    ):
        tries = [
            sign_in(url, "wrong", source=CLIENT, X_Forwarded_For=f"6.6.6.{at}")
            for at in range(LIMIT)
        ]
        assert tries == [401] * (LIMIT - 1) + [429]
        assert sign_in(url, PASSWORD, source=CLIENT) == 429
        assert sign_in(url, PASSWORD, source=CLIENT, X_Forwarded_For=OTHER) == 429
        assert sign_in(url, PASSWORD, source=OTHER) == 200
        assert sign_in(web.url, PASSWORD, source=OTHER, X_Forwarded_For=CLIENT) == 200
    events = AuditEvent.objects.order_by("id")
    failed = events.filter(action="user.sign_in_failed")
    assert {event.source_ip for event in failed} == {CLIENT}
    assert events.get(action="user.lock_out").source_ip == CLIENT
    signed_in = events.filter(action="user.sign_in")
    assert [event.source_ip for event in signed_in] == [OTHER, OTHER]


def test_without_trusted_proxies_nobody_names_an_address(tmp_path: Path) -> None:
    make_people("admin")
    with WebProcess(tmp_path / "web.log", DM_TRUSTED_PROXIES="") as web:
        said = {
            "X_Forwarded_For": "192.0.2.1",
            "Forwarded": "for=192.0.2.1",
            "X_Real_IP": "1.1.1.1",
        }
        assert sign_in(web.url, PASSWORD, **said) == 200
        # the loopback address says https, and is not believed either: no secure cookie, no redirect
        answer = httpx.get(
            f"{web.url}/agent/install.sh", headers={"X-Forwarded-Proto": "https"}, trust_env=False
        )
        assert "https://127.0.0.1" not in answer.text
    assert AuditEvent.objects.get(action="user.sign_in").source_ip == "127.0.0.1"


@pytest.mark.timeout(240)  # hashes are slow on purpose, and a busy machine has its own pace
def test_sixteen_sign_ins_at_once_cost_at_most_256_mb(tmp_path: Path) -> None:
    names = [f"person-{at}" for at in range(16)]
    make_people(*names)
    tries = [(name, "wrong" if at % 2 else PASSWORD) for at, name in enumerate(names)]
    with WebProcess(tmp_path / "web.log", DM_LOGIN_ADDRESS_LIMIT="1000") as web:
        assert sign_in(web.url, PASSWORD, name=names[0]) == 200
        before = web.peak_bytes()
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda one: sign_in(web.url, one[1], name=one[0]), tries))
        assert answers == [200, 401] * 8
        cost = web.peak_bytes() - before
    # Measured: 67 MiB more than the one before, 64 of them the second hash's.
    assert cost <= (256 - 64) * 1024 * 1024, cost
