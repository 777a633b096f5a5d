"""Scripts and commands as people write them, from the API to a real host and back."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import pytest

from tests.e2e.client import Client, step
from tests.e2e.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(90)]


class Case(NamedTuple):
    """A step, and how it ends: state, exit code, stdout, and what the message names."""

    sent: dict[str, Any]
    status: str
    exit_code: int | None
    stdout: str
    named: str = ""


def script(body: str, **fields: Any) -> dict[str, Any]:
    return step(body, kind="script", **fields)


CASES = {
    "shebang-options": Case(
        script("#!/bin/sh -e\nfalse\necho should-not-print\n"), "failed", 1, ""
    ),
    "shebang-bash": Case(
        script("#!/bin/bash\na=(1 2 3); echo ${a[1]}\n"), "completed", 0, "2\n"
    ),
    "shebang-env-s": Case(
        script("#!/usr/bin/env -S python3 -u\nimport sys\nprint(sys.version_info[0])\n"),
        "completed", 0, "3\n",
    ),
    "shebang-missing": Case(
        script("#!/usr/local/bin/no-such-shell\necho hi\n"),
        "failed", None, "", "/usr/local/bin/no-such-shell",
    ),
    "crlf-command": Case(step("cd /tmp\r\npwd\r\n"), "completed", 0, "/tmp\n"),
    "crlf-script": Case(
        script("#!/bin/sh\r\nset -e\r\necho ok\r\n"), "completed", 0, "ok\n"
    ),
    "crlf-parameter": Case(
        step('printf %s "$1" | od -An -c | tr -s " "', parameters=["a\r\nb"]),
        "completed", 0, " a \\r \\n b\n",
    ),
    "bom": Case(script("\ufeff#!/bin/sh\necho hi\n"), "completed", 0, "hi\n"),
    "run-as-domain": Case(
        step("true", run_as="svc_app@corp.example"), "failed", None, "", "svc_app@corp.example"
    ),
    "run-as-uid": Case(
        step("id -u", run_as=str(65534 if os.geteuid() == 0 else os.geteuid())),
        "completed", 0, f"{65534 if os.geteuid() == 0 else os.geteuid()}\n",
    ),
    "working-directory-too-long": Case(
        step("true", working_directory="/" + "a" * 300), "failed", None, "", "file name too long"
    ),
    "tput": Case(step("tput cols >/dev/null; echo rc=$?"), "completed", 0, "rc=0\n"),
}  # fmt: skip


def test_what_authors_write_does_what_they_mean(stack: Stack, api: Client) -> None:
    steps = [{**case.sent, "on_failure": "continue"} for case in CASES.values()]
    task = api.start_task("Scripts", steps, target=stack.target("node-1"))
    assert task.wait(60.0) == "failed"
    for position, (name, case) in enumerate(CASES.items(), start=1):
        row = task.row("node-1", position)
        printed = task.output("node-1", position)
        told = (name, row["status"], row["exit_code"], printed["stdout"]["head"])
        assert told == (name, case.status, case.exit_code, case.stdout)
        assert printed["stderr"]["head"] == "", name
        assert case.named in row["error_message"], name


def test_a_timeout_at_the_very_limit_is_one_or_the_other(stack: Stack, api: Client) -> None:
    task = api.start_task(
        "On the second", [step("sleep 1", timeout_seconds=1)], target=stack.target("node-1")
    )
    task.wait()
    row = task.row("node-1")
    assert (row["status"], row["exit_code"]) in {
        ("completed", 0), ("timeout", 143), ("timeout", None),
    }  # fmt: skip
