"""Makes an enrolment token from the command line, for installations that start by themselves."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils.translation import gettext as _

from agents_app.services.tokens import create_enrollment_token
from devops_manager.access.actors import SYSTEM


class Command(BaseCommand):
    """Prints a new enrolment token, or writes it to a file that only its owner may read.

    With a file that exists nothing is made: a second start goes on with the first one's token.
    """

    help = "Make an enrolment token and print it, or write it to --file unless that exists."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name")
        parser.add_argument("--file", type=Path)
        parser.add_argument("--auto-approve", action="store_true", help="hosts need no approval")

    def handle(self, *_args: Any, **options: Any) -> None:
        path: Path | None = options["file"]
        if path is not None and path.exists():
            self.stdout.write(_("%(path)s exists; kept.") % {"path": path})
            return
        _token, secret = create_enrollment_token(
            actor=SYSTEM, name=options["name"], auto_approve=options["auto_approve"]
        )
        if path is None:
            self.stdout.write(secret)
            return
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{secret}\n")
