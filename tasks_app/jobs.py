"""Celery jobs. Each says "look at this": it re-reads the state, may run twice, or not at all."""

from __future__ import annotations

import logging

from celery import shared_task

from devops_manager.lib.quiet_logs import SWEEP
from tasks_app.services import admission, fan_out, sweeps
from tasks_app.services.settlement import ADMISSION_JOB, FAN_OUT_JOB

logger = logging.getLogger(__name__)


@shared_task(name=ADMISSION_JOB)
def admit_tasks() -> None:
    """Admit queued tasks while there is room."""
    admission.admit_tasks()


@shared_task(name=FAN_OUT_JOB)
def fan_out_task(task: int) -> None:
    """Make the rows of a task (primary key)."""
    fan_out.fan_out_task(task)


@shared_task(name=SWEEP)
def sweep(name: str) -> None:
    """Run one sweep of ``tasks_app.services.sweeps.SWEEPS`` by its name; say what it moved."""
    moved = sweeps.SWEEPS[name]()
    if moved:
        logger.info("sweep %s: %d", name, moved)
