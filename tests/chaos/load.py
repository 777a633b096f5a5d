"""The load: several clients that create, start, end, delete and watch tasks while things break.

A client insists: what was not answered is asked again, as a script with sense would do.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx

from tests.chaos.ledger import FINAL, Ledger, Promised
from tests.chaos.steps import draw_steps
from tests.chaos.world import MAX_RUNNING_TASKS, QUEUE_CAPACITY
from tests.e2e.client import Client

CLIENTS = 4
ANSWER_SECONDS = 8.0
AGAIN_SECONDS = 0.3
# A key whose request died with its process is free again at once, and after a minute if it stands
# still; by then all is healed.
INSIST_SECONDS = 75.0
_BUSY_KEY = "idempotency_in_progress"
_READS = ("status", "hosts", "logs", "progress", "commands", "")


@dataclass(frozen=True, slots=True)
class Setting:
    """What all clients share."""

    base_url: str
    token: str
    hosts: tuple[str, ...]
    marks: Path
    run: str
    seed: int


@dataclass(frozen=True, slots=True)
class Order:
    """A creation that is asked for until it is answered: one task, or several in bulk."""

    path: str
    body: dict[str, Any]
    names: tuple[str, ...]
    key: str


class LoadClient:
    """One client, in a thread of its own. ``finish`` lets it end what it began."""

    def __init__(self, number: int, setting: Setting, ledger: Ledger) -> None:
        name = f"client-{number}"
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._number = number
        self._setting = setting
        self._ledger = ledger
        self._dice = random.Random(f"client {number} of {setting.seed}")
        self._api = Client(setting.base_url, setting.token)
        self._finish = threading.Event()
        self._until = float("inf")
        self._made = 0
        self._open_orders: list[Order] = []

    def finish(self) -> None:
        """Begin nothing new; insist on what was begun, but not for ever."""
        self._until = time.monotonic() + INSIST_SECONDS
        self._finish.set()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self._finish.is_set():
                if self._has_room():
                    self._one_round()
                self._finish.wait(self._dice.uniform(0.1, 0.8))
            while self._open_orders and time.monotonic() < self._until:
                self._ask_again()
                time.sleep(AGAIN_SECONDS)
            for order in self._open_orders:
                self._ledger.violation(f"no answer after everything was healed: {order}")
        except Exception as error:
            self._ledger.violation(f"client {self._number} broke down: {error!r}")
            raise
        finally:
            self._api.close()

    # --- asking --------------------------------------------------------------------------------

    def _ask(
        self, method: str, path: str, *, fine: Collection[int] = (), **options: Any
    ) -> httpx.Response | None:
        """Ask once; None when there was no answer, or 503. What is not expected is a violation."""
        try:
            answer = self._api.ask(method, path, timeout=ANSWER_SECONDS, **options)
        except httpx.TransportError:
            self._ledger.answer("none")
            return None
        self._ledger.answer(str(answer.status_code))
        if answer.status_code == 503:
            return None
        if not answer.is_success and answer.status_code not in fine:
            self._ledger.violation(f"{method} {path}: {answer.status_code} {answer.text[:2000]}")
        return answer

    def _insist(
        self, method: str, path: str, *, fine: Collection[int] = ()
    ) -> httpx.Response | None:
        """Ask until there is an answer; None, and a violation, when there never is."""
        while time.monotonic() < self._until:
            answer = self._ask(method, path, fine=fine)
            if answer is not None:
                return answer
            self._ledger.count("asked again")
            time.sleep(AGAIN_SECONDS)
        self._ledger.violation(f"{method} {path}: no answer after everything was healed")
        return None

    def _has_room(self) -> bool:
        """Tell whether there are few enough open tasks: what is healed must come to an end soon."""
        answer = self._ask("GET", "metrics/summary")
        if answer is None or not answer.is_success:
            return False
        figures = answer.json()
        open_tasks = figures["running_tasks"] + figures["queued_tasks"]
        return bool(open_tasks < MAX_RUNNING_TASKS + QUEUE_CAPACITY - 1)

    # --- one round -----------------------------------------------------------------------------

    def _one_round(self) -> None:
        self._ask_again()
        order = self._draw_order()
        if order.key:
            self._open_orders.append(order)
            promised = self._place(order)
        else:
            promised = self._place_once(order)
        if promised and self._dice.random() < 0.05:
            self._delete(promised.pop())
        for task in promised:
            self._start(task)
        for task in promised:
            if task.started_at is not None:
                self._follow(task)

    def _draw_order(self) -> Order:
        dice = self._dice
        count = dice.choices([1, dice.randint(2, 5)], weights=[85, 15])[0]
        bodies = [self._draw_task() for _ in range(count)]
        names = tuple(body["name"] for body in bodies)
        key = uuid.UUID(int=dice.getrandbits(128)).hex if dice.random() < 0.75 else ""
        if count == 1:
            return Order("tasks", bodies[0], names, key)
        return Order("tasks/bulk", {"tasks": bodies}, names, key)

    def _draw_task(self) -> dict[str, Any]:
        dice, setting = self._dice, self._setting
        self._made += 1
        hosts = setting.hosts if dice.random() < 0.5 else (dice.choice(setting.hosts),)
        body: dict[str, Any] = {
            "name": f"chaos {setting.seed} {self._number}.{self._made}",
            "priority": dice.choice(("low", "normal", "high", "urgent")),
            "target": {"hosts": list(hosts)},
            "commands": [
                step.as_json(
                    marks=setting.marks,
                    run=setting.run,
                    on_failure=dice.choice(("stop", "continue")),
                )
                for step in draw_steps(dice)
            ],
        }
        if dice.random() < 0.08:
            body["delivery_seconds"] = dice.randint(1, 4)
        if dice.random() < 0.08:
            body["offline_policy"] = "fail"
        return body

    # --- creating ------------------------------------------------------------------------------

    def _place_once(self, order: Order) -> list[Promised]:
        """Without a key nobody can ask again and be sure; so this asks once."""
        answer = self._ask("POST", order.path, json=order.body)
        if answer is None or not answer.is_success:
            for name in order.names:
                self._ledger.unknown(name)
            return []
        return self._note(order, answer)

    def _place(self, order: Order) -> list[Promised]:
        """Ask with the key; an order that was not answered stays open."""
        answer = self._ask("POST", order.path, fine=(409,), json=order.body, headers=_key(order))
        if answer is None:
            return []
        if answer.status_code == 409:
            if answer.json()["code"] != _BUSY_KEY:
                self._ledger.violation(f"{order}: {answer.text}")
                self._open_orders.remove(order)
            return []
        self._open_orders.remove(order)
        if not answer.is_success:
            return []
        promised = self._note(order, answer)
        if self._dice.random() < 0.2:
            self._repeat(order, answer)
        return promised

    def _ask_again(self) -> None:
        for order in list(self._open_orders):
            self._ledger.count("creations asked for again")
            for task in self._place(order):
                self._start(task)

    def _repeat(self, order: Order, first: httpx.Response) -> None:
        """Ask again though there was an answer: it must be the same."""
        second = self._ask("POST", order.path, json=order.body, headers=_key(order))
        if second is None:
            return
        self._ledger.count("creations repeated on purpose")
        replayed = second.headers.get("Idempotency-Replayed") == "true"
        if not replayed or second.json() != first.json():
            self._ledger.violation(f"{order}: {first.text}, and then {second.text}")

    def _note(self, order: Order, answer: httpx.Response) -> list[Promised]:
        body = answer.json()
        found = body["results"] if order.path.endswith("bulk") else [body]
        if tuple(task["name"] for task in found) != order.names:
            self._ledger.violation(f"{order}: {answer.text}")
            return []
        return [self._ledger.created(task["task_id"], task["name"]) for task in found]

    # --- what is done with a task --------------------------------------------------------------

    def _delete(self, task: Promised) -> None:
        # 404: an earlier request, whose answer was lost, has deleted it
        if self._insist("DELETE", f"tasks/{task.task_id}", fine=(404,)) is not None:
            task.deleted = True
            self._ledger.count("deleted")

    def _start(self, task: Promised) -> None:
        """Start it, unless the queue is full for long."""
        for _ in range(5):
            # 409: an earlier request, whose answer was lost, has started it
            answer = self._insist("POST", f"tasks/{task.task_id}/start", fine=(409, 429))
            if answer is None:
                return
            if answer.status_code != 429:
                task.started_at = time.time()
                self._ledger.count("started")
                return
            self._ledger.count("refused: queue full")
            time.sleep(1.0)

    def _follow(self, task: Promised) -> None:
        """Watch it for a while; end some of them early, at a random moment."""
        dice = self._dice
        until = time.monotonic() + dice.uniform(0.3, 3.0)
        act = dice.choices(["", "cancel", "stop"], weights=[70, 20, 10])[0]
        while time.monotonic() < until:
            self._read(task)
            time.sleep(dice.uniform(0.1, 0.5))
        if act:
            self._end(task, act)

    def _end(self, task: Promised, act: str) -> None:
        # 409: it has ended by itself
        answer = self._insist("POST", f"tasks/{task.task_id}/{act}", fine=(409,))
        if answer is not None and answer.is_success:
            task.ended_at[act] = time.time()
            self._ledger.count("canceled" if act == "cancel" else "stopped")

    def _read(self, task: Promised) -> None:
        what = self._dice.choice(_READS)
        answer = self._ask("GET", f"tasks/{task.task_id}/{what}".rstrip("/"))
        if answer is None or not answer.is_success:
            return
        body = answer.json()
        if what in ("status", "progress", "") and body["status"] == "pending":
            self._ledger.violation(f"{task.task_id}: pending in {what!r} after it was started")
        if what == "hosts":
            for host in body["results"]:
                for row in host["rows"]:
                    self._read_row(task, row)

    def _read_row(self, task: Promised, row: dict[str, Any]) -> None:
        if row["status"] in FINAL:
            ended = datetime.fromisoformat(row["finished_at"])
            word = (row["status"], row["exit_code"], ended)
            self._ledger.saw_row(task, (row["hostname"], row["position"]), word)


def _key(order: Order) -> dict[str, str]:
    return {"Idempotency-Key": order.key}
