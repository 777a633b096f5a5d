"""Two clicks at the same moment make one task."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.test import Client

from devops_manager.access.models import Role
from tasks_app.models import Task
from tests.pages_world import BACKEND, task_form
from tests.queue_world import make_hosts
from tests.task_factories import make_user

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_double_click_makes_one_task() -> None:
    user = make_user(Role.ADMIN)
    clients = [Client(), Client(), Client()]
    for client in clients:
        client.force_login(user, backend=BACKEND)
    form = task_form(*make_hosts(1), form=str(uuid.uuid4()))
    barrier = threading.Barrier(len(clients))

    def click(client: Client) -> str:
        barrier.wait(timeout=10)
        try:
            return str(client.post("/tasks/new", form).headers["Location"])
        finally:
            connection.close()

    with ThreadPoolExecutor(len(clients)) as threads:
        addresses = set(threads.map(click, clients))
    assert Task.objects.count() == 1
    assert addresses == {f"/tasks/{Task.objects.get().task_id}"}
