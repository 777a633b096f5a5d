"""``python -m devops_manager.standalone [--once]``: what ``make run`` runs."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

from devops_manager.embedded.errors import EmbeddedError
from devops_manager.embedded.language import gettext as _
from devops_manager.embedded.places import VAR
from devops_manager.embedded.servers import embedded_servers
from devops_manager.standalone import outcome, stack
from devops_manager.standalone.agents import Agents
from devops_manager.standalone.children import Children
from devops_manager.standalone.client import Api, ApiError
from devops_manager.standalone.demonstration import run_task
from devops_manager.standalone.errors import Interrupted, StandaloneError
from devops_manager.standalone.surroundings import (
    OWNER_URL,
    Addresses,
    agents_directory,
    child_environment,
    choose_addresses,
    default_addresses,
    only_run,
)
from devops_manager.standalone.terminal import progress, show

_ADDRESSES = ("DATABASE_URL", "REDIS_URL")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
SERVERS = "run"


def main(arguments: list[str]) -> int:
    """Run everything; return 0 when it came out as expected or a person ended it."""
    parser = argparse.ArgumentParser(prog="python -m devops_manager.standalone")
    parser.add_argument(
        "--once", action="store_true", help=_("end after the task, with its outcome as status")
    )
    options = parser.parse_args(arguments)
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    try:
        _run(once=options.once)
    except (EmbeddedError, StandaloneError, ApiError) as error:
        progress(_("FAILED: %(reason)s") % {"reason": error})
        return 1
    except Interrupted:
        progress(_("Everything has been stopped"))
        return 130 if options.once else 0
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    # Once: stopping takes its bounded time, and a second Ctrl-C must not cut it short half-way.
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise Interrupted


def _run(*, once: bool) -> None:
    with ExitStack() as running:
        inherited = running.enter_context(only_run())
        servers = running.enter_context(_servers())
        # The ports are chosen last: what is free now may be taken while the database is made.
        environment = child_environment(default_addresses(), servers)
        stack.migrate(environment, servers)
        admin = stack.ensure_admin(environment)
        program = stack.build_agent(environment)
        addresses = choose_addresses()
        environment = child_environment(addresses, servers)
        api = Api(base_url=addresses.web_url, token=admin.token)
        agents = Agents(
            program=program,
            directory=agents_directory(os.environ.get("DATABASE_URL") or None),
            gateway_url=addresses.gateway_url,
        )
        children = Children(inherited=(inherited,))
        running.callback(_stop, children)
        stack.start_processes(children, environment=environment, addresses=addresses, api=api)
        host_ids = agents.bring_up(children, environment=environment, api=api)
        task_id = run_task(children, api, host_ids)
        reason = outcome.show_and_judge(api, task_id, host_ids)
        _show_addresses(addresses, admin)
        if reason:
            raise StandaloneError(reason)
        progress(_("The outcome is as expected, the planned failure included"))
        if not once:
            show()
            show(_("Running until Ctrl-C."))
            children.watch()


@contextmanager
def _servers() -> Iterator[dict[str, str]]:
    given = {name: os.environ[name] for name in _ADDRESSES if os.environ.get(name)}
    owner = {OWNER_URL: os.environ[OWNER_URL]} if os.environ.get(OWNER_URL) else {}
    if len(given) == len(_ADDRESSES):
        progress(_("Using the servers that DATABASE_URL and REDIS_URL name"))
        yield given | owner
        return
    progress(_("Starting a private PostgreSQL and Redis"))
    with embedded_servers(VAR, name=SERVERS) as servers:
        made = servers.two_roles()
        if "DATABASE_URL" in given:
            del made[OWNER_URL]
        yield made | given | owner


def _stop(children: Children) -> None:
    progress(_("Stopping everything"))
    children.stop()


def _show_addresses(addresses: Addresses, admin: stack.Admin) -> None:
    password = admin.password or _("(as you changed it)")
    lines = {
        _("Pages"): f"{addresses.web_url}/",
        _("Admin"): f"{addresses.web_url}/admin/",
        _("API"): f"{addresses.web_url}/api/docs",
        _("Gateway"): addresses.gateway_url,
        _("User name"): admin.username,
        _("Password"): password,
        _("API token"): admin.token,
        _("Logs"): str(stack.LOGS),
    }
    show()
    for name, value in lines.items():
        show(f"  {name + ':':<12} {value}")
    show()
    show(_("For the examples of the API in the README:"))
    show(f"  URL={addresses.web_url} TOKEN={admin.token}")
    show()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
