"""Builds the agent as one file, byte for byte the same from the same source.

``python -m agents_app.agent_build --output var/agent/devops-agent.pyz``. The web process serves the
same bytes with their SHA-256, and the install script that goes with them.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import io
import os
import shlex
import sys
import zipfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent
DEPLOY = PACKAGE.parent / "deploy" / "agent"
DEFAULT_OUTPUT = "var/agent/devops-agent.pyz"

_SHEBANG = b"#!/usr/bin/env python3\n"
# The first thing that a Python reads, as old as 2.7: what is too new for it is imported later.
_START = b"""import sys

try:
    import sqlite3
    import ssl
except ImportError:
    sqlite3 = ssl = None

if sys.version_info < (3, 9) or ssl is None:
    sys.stderr.write(
        "devops-agent: Python 3.9 or later with sqlite3 and ssl is needed; %s is Python %d.%d%s\\n"
        % (
            sys.executable or "this",
            sys.version_info[0],
            sys.version_info[1],
            "" if ssl else " without them",
        )
    )
    sys.exit(78)

from agents_app.agent.main import main

sys.exit(main())
"""
# The oldest time that a zip file can name; the build's own time would change the bytes.
_TIME = (1980, 1, 1, 0, 0, 0)
_FILE_MODE = 0o100644 << 16


def _sources() -> dict[str, bytes]:
    """The files of the archive by their names in it."""
    found = {"__main__.py": _START, "agents_app/__init__.py": b""}
    paths = [PACKAGE / "protocol.py", *sorted((PACKAGE / "agent").glob("*.py"))]
    for path in paths:
        found[path.relative_to(PACKAGE.parent).as_posix()] = path.read_bytes()
    return found


@functools.lru_cache(maxsize=1)
def agent_bytes() -> bytes:
    """The agent program. Built once a process; equal sources give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in sorted(_sources().items()):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.external_attr = _FILE_MODE
            entry.create_system = 3
            # Stored: what compression writes differs between versions of zlib.
            archive.writestr(entry, content, compress_type=zipfile.ZIP_STORED)
    return _SHEBANG + buffer.getvalue()


def agent_sha256() -> str:
    """SHA-256 of ``agent_bytes`` in lower-case hex."""
    return hashlib.sha256(agent_bytes()).hexdigest()


def build_agent(output: Path) -> str:
    """Write the agent to ``output``, executable, whole or not at all. Gives its SHA-256."""
    output.parent.mkdir(parents=True, exist_ok=True)
    temporary = output.with_name(f".{output.name}.{os.getpid()}")
    temporary.write_bytes(agent_bytes())
    temporary.chmod(0o755)
    temporary.replace(output)
    return agent_sha256()


def install_script(*, server_url: str, download_url: str) -> str:
    """The install script for one site.

    ``server_url`` is the gateway that agents talk to, ``download_url`` where this server serves
    ``agent_bytes``. The script checks what it downloads against the SHA-256 that it carries.
    """
    script = (DEPLOY / "install.sh").read_text(encoding="utf-8")
    unit = (DEPLOY / "devops-agent.service").read_text(encoding="utf-8")
    for name, value in (
        ("@SERVER_URL@", shlex.quote(server_url)),
        ("@DOWNLOAD_URL@", shlex.quote(download_url)),
        ("@SHA256@", agent_sha256()),
        ("@UNIT@\n", unit),
    ):
        script = script.replace(name, value)
    return script


def main() -> int:
    """Build to the path that was asked for, and say what was built."""
    parser = argparse.ArgumentParser(description="Build the agent as one file.")
    parser.add_argument("--output", type=Path, default=Path(DEFAULT_OUTPUT))
    output: Path = parser.parse_args().output
    digest = build_agent(output)
    sys.stdout.write(f"{digest}  {output}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
