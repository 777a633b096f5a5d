"""Work that a command gives to another service: ending the command's processes does not end it.

A small rule over words, for a remark that says "may": containers belong to their daemon, units to
systemd, jobs to at, and what ssh began to another host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# Programs, and the words of which one must follow; empty: any use of it.
_ANY: frozenset[str] = frozenset()
_CONTAINERS = frozenset({"run", "start", "restart", "exec", "up", "service", "stack"})
_PROGRAMS: Mapping[str, frozenset[str]] = {
    "docker": _CONTAINERS,
    "docker-compose": _CONTAINERS,
    "podman": _CONTAINERS,
    "nerdctl": _CONTAINERS,
    "kubectl": frozenset(
        {"run", "exec", "apply", "create", "replace", "delete", "scale", "rollout", "drain"}
    ),
    "helm": frozenset({"install", "upgrade", "uninstall", "rollback"}),
    "systemctl": frozenset({"start", "restart", "reload", "try-restart", "reload-or-restart"}),
    "systemd-run": _ANY,
    "machinectl": frozenset({"start", "shell"}),
    "virsh": frozenset({"start", "reboot", "shutdown", "migrate"}),
    "ssh": _ANY,
}
# English words too: only as the first word of a command.
_FIRST = frozenset({"at", "batch"})
_BEFORE = frozenset({"sudo", "env", "nice", "nohup", "exec", "time", "command", "then", "do", "!"})

_ENDS = re.compile(r"[;&|(){}`\n]")
_QUOTES = str.maketrans("\"',[]", "     ")


def handed_over(texts: Iterable[str]) -> list[str]:
    """The programs in these texts that give work to others, in order of the alphabet."""
    found: set[str] = set()
    for text in texts:
        for part in _ENDS.split(text):
            found |= _in_one_command(part.translate(_QUOTES).split())
    return sorted(found)


def _in_one_command(words: list[str]) -> set[str]:
    if not words or words[0].startswith("#"):
        return set()
    found: set[str] = set()
    names = [word.rpartition("/")[2] for word in words]
    first = next((name for name in names if name not in _BEFORE and "=" not in name), "")
    if first in _FIRST:
        found.add(first)
    after: set[str] = set()
    for name in reversed(names):
        wanted = _PROGRAMS.get(name)
        if wanted is not None and (not wanted or wanted & after):
            found.add(name)
        after.add(name)
    return found
