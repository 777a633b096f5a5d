"""A real nginx in front of a gateway, with a configuration and a directory of its own."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import httpx

from devops_manager.embedded.ports import free_port
from devops_manager.embedded.process import die_with_parent
from tests.faults.world import wait_for

PROGRAM = "/usr/sbin/nginx"
CONFIGURATION = """
daemon off;
worker_processes 1;
pid {directory}/pid;
error_log {directory}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location = /nginx-is-here {{ return 200 "nginx"; }}
        location / {{
            proxy_pass http://127.0.0.1:{upstream};
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            {extra}
        }}
    }}
}}
"""


class Nginx:
    """One nginx; a context manager. ``extra`` goes into the location of the gateway."""

    def __init__(self, directory: Path, upstream: int, extra: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        directory.mkdir()
        self._directory = directory
        (directory / "nginx.conf").write_text(
            CONFIGURATION.format(
                directory=directory, port=self.port, upstream=upstream, extra=extra
            )
        )

    def __enter__(self) -> Nginx:
        self._process = subprocess.Popen(
            [PROGRAM, "-p", self._directory, "-c", self._directory / "nginx.conf", "-e", "stderr"],
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509
        )
        wait_for(self._is_here, "nginx to answer")
        return self

    def _is_here(self) -> bool:
        assert self._process.poll() is None, (self._directory / "error.log").read_text()
        try:
            answer = httpx.get(f"{self.url}/nginx-is-here", trust_env=False)
        except httpx.TransportError:
            return False
        return answer.text == "nginx"

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()
