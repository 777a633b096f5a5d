"""A pytest plugin that says, one JSON object a line, what became of each phase of each test."""

from __future__ import annotations

import json
import os
from collections.abc import Generator
from pathlib import Path

import pytest

import agents_app
import tasks_app

FILE_VARIABLE = "DM_MUTANT_OUTCOMES"


def _say(**fields: str) -> None:
    with Path(os.environ[FILE_VARIABLE]).open("a", encoding="utf-8") as file:
        file.write(json.dumps(fields) + "\n")


def pytest_configure() -> None:
    """Say which code is tested, so that it is not another copy."""
    for package in (agents_app, tasks_app):
        assert package.__file__ is not None
        _say(code=str(Path(package.__file__).resolve().parent.parent))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say how the phase ended."""
    report = yield
    error = call.excinfo.typename if call.excinfo is not None else ""
    text = str(call.excinfo.value) if call.excinfo is not None else ""
    _say(test=item.nodeid, when=call.when, outcome=report.outcome, error=error, text=text)
    return report
