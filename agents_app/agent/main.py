"""The command line: ``devops-agent run|enroll|status|drain|version``."""

from __future__ import annotations

import argparse
import getpass
import logging
import os
import sqlite3
import sys
import time
from collections.abc import Sequence

from agents_app.agent import AGENT_VERSION
from agents_app.agent.config import ConfigError, Settings, load_settings
from agents_app.agent.enroll import (
    credential_is_good,
    describe_refusal,
    enroll_once,
    is_final,
    read_token,
)
from agents_app.agent.identity import (
    Identity,
    is_draining,
    lock_holder,
    prepare_state_dir,
    read_identity,
    set_draining,
)
from agents_app.agent.service import NotNowError, read_journal, run_until_signalled
from agents_app.agent.transport import Refused, TransportError

EXIT_OK = 0
EXIT_FAILED = 1
# EX_CONFIG of sysexits.h: starting again will not help, which the systemd unit knows.
EXIT_CONFIG = 78

DRAIN_LOOK_SECONDS = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the process's exit status. Errors are one line on stderr."""
    options = _parser().parse_args(arguments)
    if options.command == "version":
        _say(f"devops-agent {AGENT_VERSION}")
        return EXIT_OK
    try:
        settings = load_settings(options.config, os.environ)
        _set_up_log(settings)
        return int(options.function(settings, options))
    except (ConfigError, NotNowError) as error:
        sys.stderr.write(f"devops-agent: {error}" + "\n")
        return EXIT_CONFIG if isinstance(error, ConfigError) else EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_FAILED


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="devops-agent", description="Runs tasks of DevOps Manager on this host."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, function, text in (
        ("run", _run, "poll for work and run it, enrolling first if need be"),
        ("enroll", _enroll, "exchange an enrolment token for this host's credential"),
        ("status", _status, "show whether the agent runs and what it has in hand"),
        ("drain", _drain, "take no new work and wait until what runs has ended"),
        ("version", None, "show the version"),
    ):
        command = commands.add_parser(name, help=text, description=text.capitalize() + ".")
        command.set_defaults(function=function)
        command.add_argument(
            "--config", metavar="FILE", help="settings (default: /etc/devops-agent/agent.toml)"
        )
        if name == "enroll":
            command.add_argument(
                "--again",
                action="store_true",
                help="give up the credential that is there for a new one; asks if it is good",
            )
            command.add_argument(
                "--yes", action="store_true", help="with --again: do not ask, give it up"
            )
        if name == "drain":
            command.add_argument("--off", action="store_true", help="take new work again")
            command.add_argument("--no-wait", action="store_true", help="do not wait")
    return parser


def _set_up_log(settings: Settings) -> None:
    # Under systemd the journal puts the time in front of each line itself.
    stamp = "" if "JOURNAL_STREAM" in os.environ else "%(asctime)s "
    logging.basicConfig(
        stream=sys.stderr,
        level=settings.log_level.upper(),
        format=f"{stamp}%(levelname)s %(message)s",
    )


def _run(settings: Settings, _: argparse.Namespace) -> int:
    run_until_signalled(settings)
    return EXIT_OK


def _enroll(settings: Settings, options: argparse.Namespace) -> int:
    os.umask(0o077)
    prepare_state_dir(settings.state_path)
    present = read_identity(settings.state_path)
    if present is not None and not options.again:
        _say(f"This host is enrolled already, as {present.host_id}.")
        return EXIT_OK
    if present is not None and not _may_give_up(settings, present, options):
        return EXIT_FAILED
    token = read_token(settings)
    if not token and sys.stdin.isatty():
        token = getpass.getpass("Enrolment token: ").strip()
    if not token:
        raise ConfigError("no enrolment token: set enrollment_token_file or type it in")
    try:
        identity, status = enroll_once(settings, token)
    except Refused as refused:
        if is_final(refused):
            raise ConfigError(describe_refusal(settings, refused)) from refused
        sys.stderr.write(f"devops-agent: {describe_refusal(settings, refused)}" + "\n")
        return EXIT_FAILED
    except TransportError as error:
        sys.stderr.write(f"devops-agent: cannot reach {settings.server}: {error}" + "\n")
        return EXIT_FAILED
    _say(f"Enrolled as {identity.host_id}.")
    if status == "pending":
        _say("A person must now approve this host on the server.")
    return EXIT_OK


def _may_give_up(settings: Settings, present: Identity, options: argparse.Namespace) -> bool:
    """Whether a credential may be replaced; one that is good, only if a person says so."""
    good = credential_is_good(settings, present)
    if good is False:
        return True
    unsent = sum(_journal(settings)[0].values())
    state = "is good" if good else "may be good: the server did not say"
    _say(
        f"This host is enrolled as {present.host_id}, and its credential {state}. Enrolling again"
        " asks the server for a new identity: a running agent takes it on at once, the old host"
        " gets no more work, and its record stays on the server until a person removes it."
    )
    if unsent:
        _say(f"{unsent} commands run or are not reported yet; their results will be lost.")
    if options.yes:
        return True
    if not sys.stdin.isatty():
        sys.stderr.write("devops-agent: nothing was done; say --yes to enroll again" + "\n")
        return False
    return input("Enroll again? [yes/no] ").strip().lower() in ("y", "yes")


def _status(settings: Settings, _: argparse.Namespace) -> int:
    identity = read_identity(settings.state_path)
    holder = lock_holder(settings.state_path)
    counts, notes = _journal(settings)
    _say(f"server:   {settings.server}")
    _say(f"host:     {identity.host_id if identity else 'not enrolled'}")
    _say(f"agent:    {'not running' if holder is None else f'running, pid {holder}'}")
    _say(f"draining: {'yes' if is_draining(settings.state_path) else 'no'}")
    _say(f"starts:   {notes.get('run', '0')}")
    for state, text in (
        ("accepted", "waiting:  "),
        ("running", "running:  "),
        ("finished", "unsent:   "),
    ):
        _say(f"{text}{counts.get(state, 0)}")
    return EXIT_OK if holder is not None else EXIT_FAILED


def _drain(settings: Settings, options: argparse.Namespace) -> int:
    set_draining(settings.state_path, not options.off)
    if options.off:
        _say("The agent takes new work again.")
        return EXIT_OK
    _say("The agent takes no new work from now on.")
    if options.no_wait:
        return EXIT_OK
    while lock_holder(settings.state_path) is not None:
        counts, notes = _journal(settings)
        open_count = sum(counts.values())
        if notes.get("slots") == "0" and not open_count:
            break
        time.sleep(DRAIN_LOOK_SECONDS)
    _say("Nothing runs and every result was sent.")
    return EXIT_OK


def _journal(settings: Settings) -> tuple[dict[str, int], dict[str, str]]:
    try:
        return read_journal(settings.state_path)
    except sqlite3.Error as error:
        raise ConfigError(f"cannot read the journal: {error}") from error
