"""The interpreters that a managed host may have: those that are here are used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

OLDEST = (3, 9)
_VERSION = "import sys; sys.stdout.write('%d.%d' % sys.version_info[:2])"


def new_enough() -> list[str]:
    """Interpreters that run the agent, this one among them."""
    return [sys.executable, *(path for version, path in _found() if version >= OLDEST)]


def too_old() -> list[str]:
    """Interpreters that the agent refuses: any of 2.7 and 3.0 to 3.8 that is here."""
    return [path for version, path in _found() if version < OLDEST]


def _found() -> list[tuple[tuple[int, int], str]]:
    """One path for each version, from pyenv, from the system and from DM_TEST_PYTHONS."""
    paths = [Path(path) for path in os.environ.get("DM_TEST_PYTHONS", "").split(":") if path]
    for root in (Path.home() / ".pyenv/versions", Path("/opt/python")):
        paths += sorted(root.glob("*/bin/python"))
    for root in (Path("/usr/bin"), Path("/usr/local/bin")):
        paths += sorted(p for p in root.glob("python[23].[0-9]*") if p.name[-1].isdigit())
    found: dict[tuple[int, int], str] = {}
    for path in paths:
        told = subprocess.run([path, "-c", _VERSION], capture_output=True, text=True, check=False)
        if told.returncode == 0:
            major, minor = told.stdout.split(".")
            found.setdefault((int(major), int(minor)), str(path))
    return sorted(found.items())
