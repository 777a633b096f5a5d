"""``manage.py sweep``: does what beat and the workers do, without Celery and without Redis."""

from __future__ import annotations

import logging
import signal
import threading
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError, close_old_connections
from django.utils.translation import gettext as _

from tasks_app.services.sweeps import SWEEPS

if TYPE_CHECKING:
    from django.core.management.base import CommandParser

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    """Runs every sweep once, or again and again until it is told to end."""

    help = "Run all sweeps: admission, fan-outs, deadlines, offline hosts, counts, partitions."

    def add_arguments(self, parser: CommandParser) -> None:
        """Add ``--loop``."""
        parser.add_argument("--loop", action="store_true", help="Go on until SIGTERM or Ctrl-C.")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Sweep; in a loop a database that is away is waited for."""
        if not options["loop"]:
            for name, sweep in SWEEPS.items():
                self.stdout.write(f"{name}: {sweep()}")
            return
        ended = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: ended.set())
        self.stdout.write(_("Sweeping every %s seconds.") % settings.DM_SWEEP_SECONDS)
        while not ended.is_set():
            self._sweep_all()
            ended.wait(settings.DM_SWEEP_SECONDS)

    def _sweep_all(self) -> None:
        for name, sweep in SWEEPS.items():
            try:
                sweep()
            except DatabaseError as error:
                logger.warning("sweep %s: the database is away: %s", name, error)
            finally:
                close_old_connections()
