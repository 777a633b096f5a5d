"""The project's own processes on this machine: how each is started, and when each is ready."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from devops_manager.embedded.language import gettext as _
from devops_manager.embedded.places import PROJECT, VAR, kept_secret, write_private
from devops_manager.standalone.children import Child, Children
from devops_manager.standalone.client import Api
from devops_manager.standalone.errors import StandaloneError
from devops_manager.standalone.surroundings import OWNER_URL, Addresses, new_password
from devops_manager.standalone.terminal import progress

ADMIN = "admin"
LOGS = VAR / "log"
START_SECONDS = 60.0
_SHOWN_LINES = 15
_GUNICORN = ["-m", "gunicorn", "--no-control-socket", "--workers=1"]
# Who is idle between two requests keeps the connection (gunicorn closes after 2 s).
_GATEWAY_WORKER = ["-k", "agents_app.gateway.worker.GatewayWorker", "--keep-alive=75"]
_WEB_WORKER = ["-k", "devops_manager.web_server.worker.WebWorker", "--keep-alive=75", "--threads=8"]
_CELERY = ["-m", "celery", "-A", "devops_manager"]


@dataclass(frozen=True)
class Admin:
    """The administrator of a run. ``password`` is None when a person has changed it."""

    username: str
    password: str | None
    token: str


def migrate(environment: dict[str, str], servers: dict[str, str]) -> None:
    """Bring the database up to date, as the owner of the tables if ``servers`` name one."""
    progress(_("Bringing the database up to date"))
    owner = {name: url for name, url in servers.items() if name == OWNER_URL}
    manage(environment | owner, "migrate", "--verbosity", "0")


def ensure_admin(environment: dict[str, str]) -> Admin:
    """Make the administrator on a first run, and an API token for this run.

    The password is kept in ``var/``, so that a second run can show it again; it is passed in the
    environment, as everyone may read the process list.
    """
    path = VAR / "admin.password"
    if not path.exists():
        write_private(path, new_password())
    password = kept_secret(path)
    output = manage(environment | {"DM_ADMIN_PASSWORD": password}, "first_admin", ADMIN)
    answer = json.loads(output)
    if answer["tokens_revoked"]:
        progress(_("The API token of the last run has been revoked; a new one is shown below"))
    return Admin(
        username=ADMIN,
        password=password if answer["password_is_current"] else None,
        token=answer["token"],
    )


def build_agent(environment: dict[str, str]) -> Path:
    """Build the agent's single file and return its path."""
    progress(_("Building the agent"))
    path = VAR / "agent" / "devops-agent.pyz"
    _python(environment, "-m", "agents_app.agent_build", "--output", str(path))
    return path


def start_processes(
    children: Children, *, environment: dict[str, str], addresses: Addresses, api: Api
) -> None:
    """Start web, gateway, worker and beat, and wait until the two servers answer."""
    progress(
        _("Starting web, gateway, worker and beat; their logs are in %(logs)s") % {"logs": LOGS}
    )
    for child in server_processes(
        addresses=addresses, environment=environment, schedule=VAR / "beat", logs=LOGS
    ):
        children.start(child)
    gateway = Api(base_url=addresses.gateway_url, token="")
    for what, server, service in (
        (_("the web process"), api, "web"),
        (_("the gateway"), gateway, "gateway"),
    ):
        ready = partial(_ready, server, service, addresses.instance)
        children.wait_for(what, ready, seconds=START_SECONDS)


def _ready(server: Api, service: str, instance: str) -> bool:
    return server.ready(service, instance) is not None


def server_processes(
    *, addresses: Addresses, environment: dict[str, str], schedule: Path, logs: Path
) -> list[Child]:
    """Return web, gateway, worker and beat, ready to be started in this order.

    Beat keeps its file in the directory ``schedule``; each process writes a log in ``logs``.
    """
    # What an earlier beat left would only make this one catch up on old schedules.
    shutil.rmtree(schedule, ignore_errors=True)
    schedule.mkdir()
    return [
        _child(name, arguments, connections, environment=environment, logs=logs)
        for name, (connections, arguments) in _commands(addresses, schedule).items()
    ]


def _commands(addresses: Addresses, schedule: Path) -> dict[str, tuple[int, list[str]]]:
    """Return each process's share of the database connections, and how Python runs it."""
    web = f"--bind={addresses.bind}:{addresses.web_port}"
    gateway = f"--bind={addresses.bind}:{addresses.gateway_port}"
    return {
        "web": (
            10,
            [*_GUNICORN, *_WEB_WORKER, web, "devops_manager.wsgi:application"],
        ),
        "gateway": (
            12,
            [*_GUNICORN, *_GATEWAY_WORKER, gateway, "devops_manager.asgi:application"],
        ),
        "worker": (4, [*_CELERY, "worker", "--concurrency=2", "--loglevel=INFO"]),
        "beat": (2, [*_CELERY, "beat", f"--schedule={schedule / 'schedule'}", "--pidfile="]),
    }


def _child(
    name: str,
    arguments: list[str],
    connections: int,
    *,
    environment: dict[str, str],
    logs: Path,
) -> Child:
    own = {"DM_PROCESS_NAME": f"devops-manager-{name}", "DM_DB_POOL_MAX": str(connections)}
    return Child(
        name=name,
        arguments=[sys.executable, *arguments],
        environment=environment | own,
        log_path=logs / f"{name}.log",
        directory=PROJECT,
    )


def manage(environment: dict[str, str], *arguments: str) -> str:
    """Run ``manage.py`` to its end and return what it printed. Raises StandaloneError."""
    return _python(environment, "manage.py", *arguments)


def _python(environment: dict[str, str], *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        cwd=PROJECT,
        env=environment,
    )
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()
        detail = {"command": " ".join(arguments), "output": "\n".join(lines[-_SHOWN_LINES:])}
        raise StandaloneError(_("%(command)s failed:\n%(output)s") % detail)
    return done.stdout
