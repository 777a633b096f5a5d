"""The README's example of the API, pasted as it stands into a shell, against a real web process."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from django.core.management import call_command

from tests.factories import make_host
from tests.gateway_process import WebProcess

PROJECT = Path(__file__).resolve().parent.parent.parent
READMES = ("README.md", "README.zh-CN.md")


def example(name: str) -> str:
    text = (PROJECT / name).read_text(encoding="utf-8")
    (block,) = (
        found for found in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) if "$URL" in found
    )
    return str(block)


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch, transactional_db: None) -> str:
    monkeypatch.setenv("DM_ADMIN_PASSWORD", "a-password-for-the-readme")
    printed = io.StringIO()
    call_command("first_admin", "admin", stdout=printed)
    return str(json.loads(printed.getvalue())["token"])


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("name", READMES)
def test_the_example_works_as_it_is_pasted(
    name: str, shell: str, token: str, tmp_path: Path
) -> None:
    make_host("web-1")
    web = WebProcess(tmp_path / "web.log").start()
    try:
        # The line that `make run` prints, and the block; from standard input, as a terminal has it.
        pasted = f"URL={web.url} TOKEN={token}\n{example(name)}"
        ran = subprocess.run(
            [shell, "-u"],
            input=pasted,
            env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "no_proxy": "*"},
            cwd=tmp_path,
            check=True,
            capture_output=True,
            text=True,
            timeout=30,
        )
    finally:
        web.stop()
    assert ran.stderr == ""
    decoder, rest, answers = json.JSONDecoder(), ran.stdout, []
    while rest.strip():
        answer, end = decoder.raw_decode(rest.strip())
        answers.append(answer)
        rest = rest.strip()[end:]
    started, progress, logs = answers
    assert started["status"] in {"queued", "running"}
    assert progress["task_id"] == started["task_id"]
    assert logs["count"] == 0, "no agent has run it yet"


def test_both_languages_show_the_same_commands() -> None:
    english, chinese = (re.sub(r'"name": "[^"]*",', "", example(name)) for name in READMES)
    assert english == chinese
