"""A broker that is not there is noticed at once: whoever started a task waits for the fan-out."""

from __future__ import annotations

import time

import pytest
from celery import current_app
from kombu.exceptions import OperationalError

from devops_manager.embedded.ports import free_port
from tasks_app.services.settlement import FAN_OUT_JOB

AT_ONCE_SECONDS = 1.0


def test_a_broker_that_refuses_is_given_up_at_once() -> None:
    with current_app.connection_for_write(f"redis://127.0.0.1:{free_port()}/0") as broker:
        began_at = time.monotonic()
        with pytest.raises(OperationalError):
            current_app.tasks[FAN_OUT_JOB].apply_async((1,), retry=False, connection=broker)
    assert time.monotonic() - began_at < AT_ONCE_SECONDS
