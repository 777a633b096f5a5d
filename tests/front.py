"""The shipped nginx files, run by a real nginx on free ports of the loopback address."""

from __future__ import annotations

import re
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devops_manager.embedded.places import PROJECT
from devops_manager.embedded.ports import free_port
from devops_manager.embedded.process import die_with_parent

NGINX = Path("/usr/sbin/nginx")
SHIPPED = PROJECT / "deploy" / "nginx"
FILES = ("nginx.conf", "site.conf", "upstreams.conf")
START_SECONDS = 10.0


@dataclass(frozen=True)
class Front:
    """A running nginx."""

    directory: Path
    port: int
    plain_port: int
    tls: ssl.SSLContext

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def certificate(self) -> Path:
        return self.directory / "tls.crt"

    def requests(self, path: str) -> list[tuple[int, float]]:
        """Return the status of each request of an address, and how long it took."""
        lines = (self.directory / "access.log").read_text().splitlines()
        found = [line.split() for line in lines]
        return [(int(status), float(took)) for uri, status, took in found if uri == path]


@contextmanager
def nginx_in_front(directory: Path, *, web_port: int, gateway_port: int) -> Iterator[Front]:
    """Run the files of deploy/nginx with other ports and places, and nothing else changed."""
    assert NGINX.exists(), "this test needs nginx (Debian: apt install nginx-light)"
    port, plain_port = free_port(), free_port()
    make = [str(SHIPPED / "make-certificate.sh"), str(directory), "localhost,127.0.0.1,[::1]"]
    subprocess.run(make, check=True)
    changes = {
        "server 127.0.0.1:8080;": f"server 127.0.0.1:{web_port};",
        "server 127.0.0.1:50051;": f"server 127.0.0.1:{gateway_port};",
        "listen 443 ": f"listen 127.0.0.1:{port} ",
        "listen 80 ": f"listen 127.0.0.1:{plain_port} ",
        "/etc/nginx/tls/": f"{directory}/",
        "/etc/nginx/devops-manager/": f"{directory}/",
        "    access_log off;\n": _log_and_places(directory),
    }
    shipped = {name: (SHIPPED / name).read_text() for name in FILES}
    for found in changes:
        assert any(found in text for text in shipped.values()), found
    for name, text in shipped.items():
        for old, new in changes.items():
            text = text.replace(old, new)
        # Not every machine has IPv6.
        text = re.sub(r"^ *listen \[::\].*$", "", text, flags=re.MULTILINE)
        (directory / name).write_text(text)
    command = [
        *(str(NGINX), "-p", str(directory), "-c", str(directory / "nginx.conf")),
        *("-e", str(directory / "error.log")),
        *("-g", f"daemon off; pid {directory}/nginx.pid; user root;"),
    ]
    with (directory / "output.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509
        )
    try:
        _wait_for(directory / "nginx.pid", process)
        tls = ssl.create_default_context(cafile=str(directory / "tls.crt"))
        yield Front(directory, port, plain_port, tls)
    finally:
        process.terminate()
        process.wait(10)


def _log_and_places(directory: Path) -> str:
    places = "".join(
        f"    {kind}_temp_path {directory}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    log = "    log_format timed '$uri $status $request_time';\n"
    return f"{log}    access_log {directory}/access.log timed;\n{places}"


def _wait_for(pid: Path, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while not (pid.exists() and pid.read_text().strip()):
        said = (pid.parent / "output.log").read_text()
        assert process.poll() is None, said
        assert time.monotonic() < until, said
        time.sleep(0.02)
