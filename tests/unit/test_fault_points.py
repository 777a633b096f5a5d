"""The points at which a server process can be made to fail, and who may name one."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from devops_manager.lib.fault_points import CHOSEN, POINTS, parse

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("devops_manager", "hosts_app", "tasks_app", "agents_app")
REACHING = {"fault_points.reach", "fault_points.reach_with"}


def reached() -> Iterator[str]:
    """Return the points that the code comes to."""
    for package in PACKAGES:
        for path in (PROJECT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func) in REACHING:
                    yield ast.literal_eval(node.args[0])


def test_every_point_is_reached_from_one_place() -> None:
    assert sorted(reached()) == sorted(POINTS)


def test_nothing_is_chosen_unless_a_test_says_so() -> None:
    assert CHOSEN == ""


def test_a_point_and_its_time() -> None:
    assert parse("") == ("", 1)
    assert parse("fan_out_exit_in_window") == ("fan_out_exit_in_window", 1)
    assert parse("fan_out_exit_in_window:12") == ("fan_out_exit_in_window", 12)


@pytest.mark.parametrize("text", ["nowhere", ":", ":2", "fan_out_exit_in_window:"])
@pytest.mark.parametrize("more", ["", "x", "0", "-1"])
def test_what_names_no_point_is_refused(text: str, more: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^DM_FAULT must be [^\n]+$"):
        parse(text + more)


def test_a_process_with_an_unknown_point_does_not_start() -> None:
    ended = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=PROJECT,
        env={**os.environ, "DM_FAULT": "nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode != 0
    assert ended.stderr.splitlines()[-1].endswith("not 'nowhere'")
