"""Runs a command with a private PostgreSQL and Redis around it.

``python -m devops_manager.embedded [--keep NAME] COMMAND …`` sets ``DATABASE_URL`` and
``REDIS_URL`` for the command, unless both are set already. ``--clean`` removes all such servers'
files of this clone.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from contextlib import suppress

from devops_manager.embedded.errors import EmbeddedError
from devops_manager.embedded.places import VAR, remove_places
from devops_manager.embedded.servers import embedded_servers


def main(arguments: list[str]) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m devops_manager.embedded")
    parser.add_argument("--keep", metavar="NAME", help="keep the data under this name")
    parser.add_argument("--clean", action="store_true", help="remove the servers' files")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    options = parser.parse_args(arguments)
    try:
        if options.clean:
            remove_places(VAR)
            return 0
        if not options.command:
            parser.error("say which command to run")
        if all(os.environ.get(name) for name in ("DATABASE_URL", "REDIS_URL")):
            return _run(options.command, {})
        with embedded_servers(VAR, name=options.keep) as servers:
            # What is kept is that of `make run`, whose processes own no tables.
            kept = options.keep is not None
            return _run(options.command, servers.two_roles() if kept else servers.environment())
    except EmbeddedError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1


def _run(command: list[str], addresses: dict[str, str]) -> int:
    with subprocess.Popen(command, env=addresses | os.environ) as process:
        while True:
            # Ctrl-C reaches the command too; it decides, and the servers stay until it has ended.
            with suppress(KeyboardInterrupt):
                return process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
