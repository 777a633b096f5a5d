"""Drives the API as people and scripts do: sign in, take a token, create, list and watch tasks.

    DM_USERNAME=admin DM_PASSWORD=… locust -f loadtests/locustfile.py --headless \\
        --host http://127.0.0.1:8080 --users 50 --spawn-rate 10 --run-time 1m

``DM_API_TOKEN`` instead of name and password uses a token that is there already. ``DM_TARGET`` is
the target of the tasks as JSON, ``{"all": true}`` when it is not set. Tasks stay pending, and each
user deletes its own at the end; with ``DM_START=1`` they are started too, which runs ``true`` on
every host of the target. ``DM_BULK`` is the number of tasks in a bulk request (100).
"""

import itertools
import json
import os
import random

from locust import FastHttpUser, between, events, task
from locust.exception import StopUser

TARGET = json.loads(os.environ.get("DM_TARGET", '{"all": true}'))
START = os.environ.get("DM_START") == "1"
BULK_TASKS = int(os.environ.get("DM_BULK", "100"))
_numbers = itertools.count(1)


@events.init.add_listener
def check_settings(environment, **_kwargs):
    """Say at once what is missing, before anybody is let loose."""
    named = {"DM_USERNAME", "DM_PASSWORD"} <= set(os.environ)
    if not named and "DM_API_TOKEN" not in os.environ:
        raise SystemExit("set DM_USERNAME and DM_PASSWORD, or DM_API_TOKEN")
    if not environment.host:
        environment.host = "http://127.0.0.1:8080"


def task_body():
    """Return the body of a small task."""
    number = next(_numbers)
    return {
        "name": f"locust {os.getpid()}-{number}",
        "target": TARGET,
        "commands": [{"name": "nothing", "body": "true", "timeout_seconds": 30}],
    }


class Operator(FastHttpUser):
    """Someone who creates tasks now and then, and looks at lists and states all the time."""

    wait_time = between(0.1, 0.5)

    def on_start(self):
        """Get a token of one's own."""
        self.created = []
        self.token_id = None
        token = os.environ.get("DM_API_TOKEN") or self.take_token()
        self.headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}

    def take_token(self):
        """Sign in with name and password and make a token."""
        body = {"username": os.environ["DM_USERNAME"], "password": os.environ["DM_PASSWORD"]}
        signed_in = self.client.post("/api/v1/auth/login", json=body)
        if signed_in.status_code != 200:
            print(f"cannot sign in: {signed_in.status_code} {signed_in.text[:300]}")
            raise StopUser
        csrf = self.client.cookiejar
        headers = {
            "X-CSRFToken": next(cookie.value for cookie in csrf if cookie.name == "csrftoken"),
            "Referer": self.host,
        }
        asked = {"name": "locust", "role": "operator"}
        if signed_in.json()["role"] == "admin":
            asked["role"] = "admin"
        made = self.client.post("/api/v1/tokens", json=asked, headers=headers)
        if made.status_code != 201:
            print(f"cannot make a token: {made.status_code} {made.text[:300]}")
            raise StopUser
        self.token_id = made.json()["token_id"]
        return made.json()["secret"]

    def on_stop(self):
        """Delete the tasks that have not started, and revoke the token."""
        for task_id in self.created:
            self.call("DELETE", f"/tasks/{task_id}", "/tasks/[id]", good=(204, 404, 409))
        if self.token_id:
            self.call("DELETE", f"/tokens/{self.token_id}", "/tokens/[id]", good=(204,))

    def call(self, method, path, name=None, good=(200,), **kwargs):
        """Send one request; an unexpected status counts as a failure, with what was answered."""
        with self.client.request(
            method,
            f"/api/v1{path}",
            name=name or path,
            headers=self.headers,
            catch_response=True,
            **kwargs,
        ) as response:
            if response.status_code in good:
                response.success()
            else:
                response.failure(f"{response.status_code}: {(response.text or '')[:200]}")
            return response

    def any_task(self):
        """Return the id of a task of one's own, or None."""
        return random.choice(self.created) if self.created else None

    @task(10)
    def create(self):
        """Create one task, and start it where that was asked for."""
        response = self.call("POST", "/tasks", good=(201,), json=task_body())
        if response.status_code != 201:
            return
        task_id = response.json()["task_id"]
        self.created.append(task_id)
        if START:
            self.call("POST", f"/tasks/{task_id}/start", "/tasks/[id]/start", good=(200, 429))

    @task(1)
    def create_in_bulk(self):
        """Create many tasks with one request."""
        body = {"tasks": [task_body() for _number in range(BULK_TASKS)]}
        response = self.call("POST", "/tasks/bulk", good=(201,), json=body)
        if response.status_code == 201:
            self.created.extend(row["task_id"] for row in response.json()["results"])

    @task(20)
    def list_tasks(self):
        """Look at the first page of a list."""
        query = random.choice(("", "?status=running", "?name=locust", "?page=2"))
        self.call("GET", f"/tasks{query}", "/tasks", good=(200, 404))

    @task(20)
    def watch(self):
        """Ask where a task stands."""
        if task_id := self.any_task():
            self.call("GET", f"/tasks/{task_id}/status", "/tasks/[id]/status")

    @task(5)
    def look_closely(self):
        """Look at one task, its progress and its hosts."""
        if task_id := self.any_task():
            self.call("GET", f"/tasks/{task_id}", "/tasks/[id]")
            self.call("GET", f"/tasks/{task_id}/progress", "/tasks/[id]/progress")
            self.call("GET", f"/tasks/{task_id}/hosts", "/tasks/[id]/hosts")

    @task(2)
    def overview(self):
        """Look at the figures."""
        self.call("GET", "/stats")
        self.call("GET", "/metrics/summary")
