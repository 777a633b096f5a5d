"""The main job: a task on three hosts, watched from its start to its end."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import ENDED, Client, Task, step, wait_until
from tests.e2e.conftest import Marked
from tests.e2e.stack import NODES, Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]

TOTAL_BYTES = 2_000_000
CAP_BYTES = 262_144


def steps_with_a_planned_failure(marks: Path) -> list[dict[str, Any]]:
    """Each step says when it ran, and refuses to run before the one before it on its host."""
    own = f"{marks}/$DM_HOSTNAME"
    script = (
        "import os, sys, time\n"
        "own = sys.argv[1] + '/' + os.environ['DM_HOSTNAME']\n"
        "assert not os.path.exists(own + '.3')\n"
        "assert os.environ['COLOUR'] == '绿 色', os.environ\n"
        "before = float(open(own + '.1').read())\n"
        "now = time.time()\n"
        "assert before < now\n"
        "open(own + '.2', 'x').write(str(now))\n"
        "print(sys.argv[2])\n"
        "sys.exit(7 if own.endswith('node-3') else 0)\n"
    )
    return [
        step(
            f"set -eu; test ! -e {own}.2; set -C; date +%s.%N > {own}.1; "
            'echo "one on $DM_HOSTNAME"; echo "to stderr" >&2',
            name="First",
        ),
        step(
            script,
            name="第二步",
            kind="script",
            interpreter="/usr/bin/env python3",
            parameters=[str(marks), "a parameter; $HOME `x` 'y'"],
            environment={"COLOUR": "绿 色"},
        ),
        step(f"set -eu; cat {own}.2 > /dev/null; set -C; date +%s.%N > {own}.3; pwd", name="Third"),
    ]


def watch(task: Task) -> dict[tuple[str, int], list[str]]:
    """Follow the task by its progress and cursor, as a page does; the states of each row seen."""
    seen: dict[tuple[str, int], list[str]] = {}
    cursor = ""

    def ended() -> bool:
        nonlocal cursor
        query = {"cursor": cursor} if cursor else {}
        progress = task.api.get(f"{task.path}/progress", **query)
        cursor = progress["cursor"]
        for row in progress["changed"] or ():
            states = seen.setdefault((row["hostname"], row["position"]), [])
            if row["status"] not in states[-1:]:
                states.append(row["status"])
        return progress["status"] in ENDED and not progress["more"]

    wait_until(ended, 30.0, lambda: f"the end of {seen}")
    return seen


def test_steps_run_in_order_on_each_host_and_stop_where_one_fails(
    stack: Stack, api: Client, marks: Path
) -> None:
    task = api.create_task(
        "Three steps", steps_with_a_planned_failure(marks), target=stack.target(*NODES)
    )
    assert (task.status, task.rows()) == ("pending", {})
    api.get(f"{task.path}/progress")
    assert task.start()["status"] == "running"
    seen = watch(task)
    rows = task.rows()
    expected = dict.fromkeys([(node, at) for node in NODES for at in (1, 2, 3)], "completed")
    expected |= {("node-3", 2): "failed", ("node-3", 3): "skipped"}
    assert task.states() == expected
    assert {key: states[-1] for key, states in seen.items()} == expected
    assert rows["node-3", 2]["exit_code"] == 7
    assert sorted(path.name for path in marks.iterdir()) == sorted(
        f"{node}.{at}" for (node, at), state in expected.items() if state != "skipped"
    )
    for node in NODES:
        times = [rows[node, at][name] for at in (1, 2) for name in ("started_at", "finished_at")]
        assert times == sorted(times)
    state = task.state()
    assert state["status"] == "partial"
    assert (state["total_hosts"], state["completed_hosts"], state["failed_hosts"]) == (3, 2, 1)
    for node in NODES:
        first = task.output(node, 1)
        assert first["stdout"]["head"] == f"one on {node}\n"
        assert first["stderr"]["head"] == "to stderr\n"
        assert task.output(node, 2)["stdout"]["head"] == "a parameter; $HOME `x` 'y'\n"
    assert [one["status"] for one in api.get(f"{task.path}/commands")] == [
        "completed",
        "partial",
        "partial",
    ]


def test_a_command_that_ignores_term_is_killed_at_its_timeout(
    stack: Stack, api: Client, marked: Marked
) -> None:
    stubborn = "trap '' TERM; echo begun; (trap '' TERM; while :; do sleep 0.1; done) & wait; wait"
    steps = [
        step(stubborn, timeout_seconds=1, environment=marked.environment),
        step("echo never"),
    ]
    task = api.start_task("A timeout", steps, target=stack.target("node-1"))
    wait_until(lambda: len(marked.pids()) >= 2, 10.0, "the command to run")
    # Its second, the grace of one second, a look at the tree, the report.
    row = task.wait_row("node-1", "timeout", seconds=8.0)
    assert marked.pids() == set()
    assert 1000 <= row["execution_time_ms"] < 5000
    assert row["error_code"] == "timeout"
    assert task.wait() == "failed"
    assert task.row("node-1", 2)["status"] == "skipped"
    assert task.output("node-1")["stdout"]["head"] == "begun\n"


# NUL, invalid UTF-8, markup and an escape; a character that is cut in two at the end.
HEAD = b"\x00\xff\xfe" + "头".encode() + b"<b>\x1b[31m"
TAIL = "尾".encode() + b"\x00\xe4"
MIDDLE_BYTES = TOTAL_BYTES - len(HEAD) - len(TAIL)

PRINTING = f"""\
import sys
head, tail = (bytes.fromhex(text) for text in sys.argv[1:])
middle = bytes(number % 251 for number in range({MIDDLE_BYTES}))
sys.stdout.buffer.write(head + middle + tail)
sys.stderr.buffer.write(b"small \\xff")
"""


def test_output_is_kept_to_the_byte_as_far_as_the_cap_says(stack: Stack, api: Client) -> None:
    data = HEAD + bytes(number % 251 for number in range(MIDDLE_BYTES)) + TAIL
    printing = step(
        PRINTING,
        kind="script",
        interpreter="/usr/bin/env python3",
        parameters=[HEAD.hex(), TAIL.hex()],
    )
    task = api.start_task("Much output", [printing], target=stack.target("node-2"))
    assert task.wait() == "completed"
    exact = task.output("node-2", encoding="base64", limit_bytes=CAP_BYTES, size=1)
    stdout = exact["stdout"]
    head, tail = (base64.b64decode(stdout[name]) for name in ("head", "tail"))
    assert stdout["total_bytes"] == len(data) == TOTAL_BYTES
    assert len(head) + len(tail) == CAP_BYTES
    assert stdout["omitted_bytes"] == TOTAL_BYTES - CAP_BYTES
    assert (data.startswith(head), data.endswith(tail)) == (True, True)
    text = task.output("node-2", limit_bytes=1024)
    assert text["stdout"]["head"].startswith("\x00\ufffd\ufffd头<b>\x1b[31m")
    assert text["stdout"]["tail"].endswith("尾\x00\ufffd")
    assert text["stdout"]["exact"] is False
    # A character is not cut in two: up to three bytes of it are left out on either side.
    assert 0 <= text["stdout"]["omitted_bytes"] - (TOTAL_BYTES - 1024) <= 6
    assert text["stderr"]["head"] == "small \ufffd"
    assert text["stderr"]["omitted_bytes"] == 0
    where = {"command": exact["row"]["command_id"], "host": exact["row"]["host_id"]}
    raw = api.ask("GET", f"{task.path}/logs/raw", params=where)
    assert raw.status_code == 200
    assert raw.content.startswith(head)
    assert raw.content.endswith(tail)
