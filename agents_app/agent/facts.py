"""What the agent tells of its host: names and ids at enrolment, load figures with each poll."""

from __future__ import annotations

import os
import socket
import sys
import uuid
from pathlib import Path

from agents_app.agent.address import parse_server
from agents_app.agent.config import Settings
from agents_app.agent.proxy import NO_PROXY_AT_ALL, parse_proxy

MACHINE_ID_FILE = "machine-id"
# The gateway takes no more than this of each.
LONGEST_ID, LONGEST_OS, LONGEST_ARCH, LONGEST_NAME = 64, 128, 32, 253

LoadFigures = dict[str, float]


def boot_id() -> str:
    """The kernel's id of this boot, or an empty string where there is none."""
    return _read_line("/proc/sys/kernel/random/boot_id")


def machine_id(settings: Settings) -> str:
    """The setting, else the system's machine id, else one made up and kept in the state directory.

    Containers often have none of their own, and images are made without one: see ``is_machine_id``.
    """
    for found in (
        settings.machine_id,
        _read_line("/etc/machine-id"),
        _read_line("/var/lib/dbus/machine-id"),
    ):
        if is_machine_id(found):
            return found[:LONGEST_ID]
    path = settings.state_path / MACHINE_ID_FILE
    if not path.exists():
        path.write_text(uuid.uuid4().hex, encoding="ascii")
    return _read_line(str(path))


def is_machine_id(text: str) -> bool:
    """Whether it tells one machine from others: systemd writes ``uninitialized`` into images."""
    return text.lower() != "uninitialized" and bool(text.strip("0-"))


def host_name(settings: Settings) -> str:
    """What this host is called: by the settings, else by the system."""
    return settings.hostname or socket.gethostname()


def reportable_name(settings: Settings) -> str:
    """The host's name if the server takes it for one, else an empty string.

    A name that is refused would have every poll refused.
    """
    name = host_name(settings)
    fits = len(name) <= LONGEST_NAME and name.isprintable() and " " not in name
    return name if fits else ""


def host_facts(settings: Settings) -> dict[str, object]:
    """The fields of an enrolment that describe the host."""
    return {
        "hostname": host_name(settings),
        "machine_id": machine_id(settings),
        **_system(settings),
        "facts": _details(),
    }


def host_description(settings: Settings, process_tracking: str) -> dict[str, object]:
    """What a poll tells of the host when it changed; ``process_tracking`` is a fact as well."""
    name = reportable_name(settings)
    return {
        **({"hostname": name} if name else {}),
        **_system(settings),
        "facts": {**_details(), "process_tracking": process_tracking},
    }


def _system(settings: Settings) -> dict[str, object]:
    """What enrolment and polls both tell, beside the facts."""
    system = os.uname()
    told: dict[str, object] = {
        "os": (_os_name() or f"{system.sysname} {system.release}")[:LONGEST_OS],
        "arch": system.machine[:LONGEST_ARCH],
    }
    address = _own_address(settings)
    if address:
        told["ip"] = address
    return told


def _details() -> dict[str, object]:
    return {
        "kernel": os.uname().release,
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "cpu_count": os.cpu_count() or 0,
        "memory_bytes": _memory()[0],
    }


class LoadReader:
    """Load figures for polls. CPU use is measured between two calls."""

    def __init__(self, disk_path: str) -> None:
        """``disk_path`` lies on the file system whose use is told."""
        self._disk_path = disk_path
        self._cpu = _cpu_times()

    def read(self, *, running: int) -> LoadFigures:
        """The figures that this system offers, and how many commands run."""
        figures: LoadFigures = {"running": running}
        before, self._cpu = self._cpu, _cpu_times()
        if before and self._cpu and self._cpu[1] > before[1]:
            idle = (self._cpu[0] - before[0]) / (self._cpu[1] - before[1])
            figures["cpu_percent"] = round(min(max(100.0 * (1.0 - idle), 0.0), 100.0), 1)
        total, available = _memory()
        if total:
            figures["memory_percent"] = round(100.0 * (total - available) / total, 1)
        try:
            figures["load1"] = round(os.getloadavg()[0], 2)
            disk = os.statvfs(self._disk_path)
        except OSError:
            return figures
        if disk.f_blocks:
            used = disk.f_blocks - disk.f_bfree
            figures["disk_percent"] = round(100.0 * used / max(used + disk.f_bavail, 1), 1)
        return figures


def _read_line(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _os_name() -> str:
    try:
        text = Path("/etc/os-release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    for line in text.splitlines():
        key, _, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip().strip("\"'")
    return ""


def _own_address(settings: Settings) -> str | None:
    """The local address of the way to the server. Connecting a UDP socket sends nothing."""
    server = parse_server(settings.server)
    place = (server.host, server.port)
    if settings.proxy and settings.proxy != NO_PROXY_AT_ALL:
        # Behind a proxy the server's name is often not known.
        proxy = parse_proxy(settings.proxy)
        place = (proxy.host, proxy.port)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(*place, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)
            return str(probe.getsockname()[0])
    except (OSError, UnicodeError):
        return None


def _cpu_times() -> tuple[int, int] | None:
    """Idle and total ticks of all processors since boot."""
    line = _read_line("/proc/stat").partition("\n")[0].split()
    if len(line) < 6 or line[0] != "cpu":
        return None
    ticks = [int(part) for part in line[1:9]]
    return ticks[3] + ticks[4], sum(ticks)


def _memory() -> tuple[int, int]:
    """Total and available bytes; zeros where they cannot be read."""
    found = {"MemTotal": 0, "MemAvailable": 0}
    for line in _read_line("/proc/meminfo").splitlines():
        key, _, rest = line.partition(":")
        if key in found:
            found[key] = int(rest.split()[0]) * 1024
    return found["MemTotal"], found["MemAvailable"]
