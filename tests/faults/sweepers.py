"""Runs every sweep in twenty processes at the same moment: ``python -m tests.faults.sweepers``.

One process loads Django and forks the others, which meet before each sweep. The exit status says
how many of them failed.
"""

from __future__ import annotations

import importlib
import multiprocessing
import multiprocessing.synchronize
import sys

import django
from django.db import connection

AT_ONCE = 20
MEETING_SECONDS = 20


def sweep_all(barrier: multiprocessing.synchronize.Barrier) -> None:
    # Django's models can be loaded only after django.setup().
    sweeps = importlib.import_module("tasks_app.services.sweeps")
    for sweep in sweeps.SWEEPS.values():
        connection.ensure_connection()
        barrier.wait(MEETING_SECONDS)
        sweep()
        connection.close()


def main() -> int:
    django.setup()
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(AT_ONCE)
    processes = [context.Process(target=sweep_all, args=(barrier,)) for _ in range(AT_ONCE)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    return sum(process.exitcode != 0 for process in processes)


if __name__ == "__main__":
    sys.exit(main())
