"""What the processes of a run find around them: files in ``var/``, ports, environment, locks."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import shlex
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from devops_manager.embedded.language import gettext as _
from devops_manager.embedded.places import VAR, kept_secret, write_private
from devops_manager.embedded.ports import LOOPBACK, free_port, reserve
from devops_manager.standalone.errors import StandaloneError
from devops_manager.standalone.terminal import Waiting, progress

WEB_PORT = 8080
GATEWAY_PORT = 50051
_WEB, _GATEWAY = "DM_WEB_PORT", "DM_GATEWAY_PORT"
_USUAL_PORTS = {_WEB: WEB_PORT, _GATEWAY: GATEWAY_PORT}
_PORTS_FILE = "ports.json"
OWNER_URL = "DATABASE_OWNER_URL"
_LEFTOVER_SECONDS = 40.0
_EVERYWHERE = "0.0.0.0"  # noqa: S104 - only compared with; the person chose it


@dataclass(frozen=True)
class Addresses:
    """Where the web process and the gateway listen, and how this machine reaches them."""

    bind: str
    web_port: int
    gateway_port: int
    # What the servers of these addresses say at /readyz, and no other servers do.
    instance: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def web_url(self) -> str:
        """The web process's address, for this machine."""
        return f"http://{self._host}:{self.web_port}"

    @property
    def gateway_url(self) -> str:
        """The gateway's address, for this machine."""
        return f"http://{self._host}:{self.gateway_port}"

    @property
    def _host(self) -> str:
        return LOOPBACK if self.bind == _EVERYWHERE else self.bind


def default_addresses() -> Addresses:
    """Return the usual addresses, for commands that serve nothing."""
    return Addresses(bind=LOOPBACK, web_port=WEB_PORT, gateway_port=GATEWAY_PORT)


def choose_addresses() -> Addresses:
    """Choose and reserve the two ports, and keep them in ``var/`` for the next run.

    ``DM_WEB_PORT`` and ``DM_GATEWAY_PORT`` come first, then those of the last run, then 8080 and
    50051; one that is taken is replaced and named. What differs from the last run is said.
    """
    bind = os.environ.get("DM_BIND") or LOOPBACK
    last = _last_ports()
    wanted = {name: _wanted_port(name, last) for name in _USUAL_PORTS}
    # Both before a substitute is looked for: it must not be the other's.
    got = {name: port for name, port in wanted.items() if reserve(port, bind)}
    for name, port in wanted.items():
        if name not in got:
            got[name] = free_port()
            detail = {"wanted": port, "port": got[name], "name": name}
            progress(
                _("Port %(wanted)d is taken; using %(port)d instead (%(name)s chooses another)")
                % detail
            )
    addresses = Addresses(bind=bind, web_port=got[_WEB], gateway_port=got[_GATEWAY])
    _say_what_changed(last, addresses)
    write_private(VAR / _PORTS_FILE, json.dumps(got))
    return addresses


def _wanted_port(name: str, last: dict[str, int]) -> int:
    text = os.environ.get(name) or str(last.get(name, _USUAL_PORTS[name]))
    if not _is_port(text):
        raise StandaloneError(
            _("%(name)s must be a port number, not %(text)s") % {"name": name, "text": text}
        )
    return int(text)


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536


def _last_ports() -> dict[str, int]:
    """Return the ports of the last run; none when there was none, or its file is no use."""
    try:
        kept = json.loads((VAR / _PORTS_FILE).read_text(encoding="utf-8"))
        return {name: int(kept[name]) for name in _USUAL_PORTS if _is_port(str(kept[name]))}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _say_what_changed(last: dict[str, int], addresses: Addresses) -> None:
    if _WEB in last and last[_WEB] != addresses.web_port:
        detail = {"old": last[_WEB], "url": addresses.web_url}
        progress(
            _("The pages and the API were on port %(old)d and are at %(url)s from now on") % detail
        )
    if _GATEWAY in last and last[_GATEWAY] != addresses.gateway_port:
        detail = {"old": last[_GATEWAY], "url": addresses.gateway_url}
        progress(_("The gateway was on port %(old)d and is at %(url)s from now on") % detail)


def child_environment(addresses: Addresses, servers: dict[str, str]) -> dict[str, str]:
    """Return the environment of the project's processes; what is set already wins.

    The owner of the tables is for migrations only (``stack.migrate``).
    """
    name = socket.gethostname()
    hosts = ["localhost", LOOPBACK, "[::1]", name]
    if addresses.bind not in (LOOPBACK, _EVERYWHERE):
        hosts.append(addresses.bind)
    defaults = {
        "DM_SECRET_KEY": kept_secret(VAR / "secret_key"),
        "DM_ALLOWED_HOSTS": ",".join(hosts),
        "DM_GATEWAY_URL": addresses.gateway_url,
    }
    environment = (
        defaults
        | {key: value for key, value in os.environ.items() if value or key not in defaults}
        | servers
        | {"DM_INSTANCE": addresses.instance}
        | {"DJANGO_SETTINGS_MODULE": "devops_manager.settings", "PYTHONUNBUFFERED": "1"}
    )
    environment.pop(OWNER_URL, None)
    return environment


def agents_directory(database_url: str | None) -> Path:
    """Return where the agents of a database keep their state: another database, other agents.

    None means the embedded database, whose address is another at each run.
    """
    if database_url is None:
        return VAR / "agents" / "embedded"
    parts = urlsplit(database_url)
    place = f"{parts.hostname}:{parts.port}{parts.path}?{parts.query}"
    return VAR / "agents" / hashlib.sha256(place.encode()).hexdigest()[:12]


def new_password() -> str:
    """Return a password that a person can copy or type."""
    return "-".join(secrets.token_hex(3) for _part in range(3))


@contextmanager
def only_run() -> Iterator[int]:
    """Make sure that this is the only run of the clone.

    Yields a file descriptor for every child to inherit: it is locked for as long as one of them
    lives, so what a killed run left behind is waited for instead of met half-dead.
    Raises StandaloneError when another run is there.
    """
    VAR.mkdir(parents=True, exist_ok=True)
    owner = os.open(VAR / "run.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    children = os.open(VAR / "run-children.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _lock(owner):
            raise StandaloneError(_("“make run” is running in this directory already"))
        _wait_for_leftovers(children)
        yield children
    finally:
        os.close(children)
        os.close(owner)


def _wait_for_leftovers(descriptor: int) -> None:
    waiting = Waiting(_("processes of an earlier run to end"))
    while not _lock(descriptor):
        if waiting.seconds > _LEFTOVER_SECONDS:
            raise StandaloneError(
                _("Processes of an earlier run are still there; end them first (fuser -v %(path)s)")
                % {"path": shlex.quote(str(VAR / "run-children.lock"))}
            )
        waiting.tick()
        time.sleep(0.1)
    waiting.done()


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
