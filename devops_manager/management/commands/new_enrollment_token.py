"""Makes an enrolment token from the command line, for installations that start by themselves."""

from __future__ import annotations

import os
from argparse import ArgumentTypeError
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone
from django.utils.translation import gettext as _

from agents_app.services.tokens import USES, Usual, create_enrollment_token
from devops_manager.access.actors import SYSTEM

HOURS_MAX = 87_600


def _uses(text: str) -> int | None:
    """Read ``--max-uses``."""
    if text == "unlimited":
        return None
    return _whole(text, high=1_000_000)


def _hours(text: str) -> datetime | None:
    """Read ``--expires-in-hours`` as a moment."""
    if text == "never":
        return None
    return timezone.now() + timedelta(hours=_whole(text, high=HOURS_MAX))


def _whole(text: str, *, high: int) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
    if not 1 <= number <= high:
        raise ArgumentTypeError(_("from 1 to %(high)d") % {"high": high})
    return number


class Command(BaseCommand):
    """Prints a new enrolment token, or writes it to a file that only its owner may read.

    With a file that exists nothing is made: a second start goes on with the first one's token.
    The token is good for 100 uses and 24 hours unless it is told otherwise.
    """

    help = "Make an enrolment token and print it, or write it to --file unless that exists."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--file", type=Path)
        parser.add_argument("--auto-approve", action="store_true", help="hosts need no approval")
        parser.add_argument("--max-uses", type=_uses, default=USES, metavar="N|unlimited")
        parser.add_argument(
            "--expires-in-hours", type=_hours, default=Usual.USUAL, metavar="HOURS|never"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        path: Path | None = options["file"]
        if path is not None and path.exists():
            self.stdout.write(_("%(path)s exists; kept.") % {"path": path})
            return
        _token, secret = create_enrollment_token(
            actor=SYSTEM,
            name=options["name"],
            auto_approve=options["auto_approve"],
            max_uses=options["max_uses"],
            expires_at=options["expires_in_hours"],
        )
        if path is None:
            self.stdout.write(secret)
            return
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{secret}\n")
