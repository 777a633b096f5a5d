"""How a step's text is kept, and what its author is warned of."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks_app.script_text import clean_body, runner_of, step_warnings

DOS = "one\r\ntwo\r\n"


@pytest.mark.parametrize(
    ("kind", "interpreter"),
    [
        ("command", ""),
        ("script", ""),
        ("script", "/bin/sh"),
        ("script", "/bin/bash -eu"),
        ("script", "/usr/bin/env bash"),
        ("script", "/usr/bin/env -S python3 -u"),
        ("script", "python3.12"),
        ("script", "/opt/pypy3"),
        ("script", "/usr/bin/perl -w"),
        ("script", "perl5.36.0"),
        ("script", "ksh93"),
        ("script", "zsh"),
        ("script", "sudo -u app bash"),
        ("script", "busybox sh"),
        ("script", "'/opt/our tools/python' -I"),
    ],
)
def test_shells_python_and_perl_get_line_feeds(kind: str, interpreter: str) -> None:
    assert clean_body(DOS, kind=kind, interpreter=interpreter) == "one\ntwo\n"


@pytest.mark.parametrize(
    "interpreter", ["/opt/powershell/pwsh", "cmd /c", "/usr/bin/env node", "bashful", "'open"]
)
def test_what_another_interpreter_reads_is_kept(interpreter: str) -> None:
    assert clean_body(DOS, kind="script", interpreter=interpreter) == DOS
    named = f"#!{interpreter}\r\n" + DOS
    assert "\r" not in clean_body(named, kind="script", interpreter=interpreter)


@pytest.mark.parametrize(
    ("body", "kept"),
    [
        ("#!/bin/sh\r\nset -e\r\necho ok\r\n", "#!/bin/sh\nset -e\necho ok\n"),
        ("cd /tmp\r\npwd\r\n", "cd /tmp\npwd\n"),
        ("cd /tmp\r", "cd /tmp"),
        ("a\r\r\nb\rc\n", "a\nb\rc\n"),
        ("\ufeff#!/bin/sh\necho hi\n", "#!/bin/sh\necho hi\n"),
        ("\ufeff\ufeffecho\r\n", "echo\n"),
        ("echo '\ufeff'", "echo '\ufeff'"),
        ("\ufeff", ""),
    ],
)
def test_line_ends_and_marks(body: str, kept: str) -> None:
    assert clean_body(body, kind="command", interpreter="") == kept


def test_a_byte_order_mark_goes_whoever_reads_it() -> None:
    assert clean_body("\ufeffWrite-Host 1\r\n", kind="script", interpreter="pwsh") == (
        "Write-Host 1\r\n"
    )


@given(st.text(st.sampled_from("a\r\n \ufeff#!")))
def test_what_was_cleaned_is_clean(body: str) -> None:
    once = clean_body(body, kind="command", interpreter="")
    assert clean_body(once, kind="command", interpreter="") == once
    assert "\r\n" not in once


@pytest.mark.parametrize(
    "body",
    ["\r" * 131_072, "\r" * 131_071 + "\n", "#!" + " " * 131_072, "#!" + "a " * 65_536,
     "#!" + "'" * 131_072, "#!\t" + "\t\r" * 65_536 + "x"],
    ids=["cr", "cr-lf", "blanks", "words", "quotes", "tabs"],
)  # fmt: skip
def test_hostile_texts_cost_little(body: str) -> None:
    began = time.process_time()
    for interpreter in ("", "bash"):
        clean_body(body, kind="script", interpreter=interpreter)
        step_warnings(path="", kind="script", interpreter=interpreter, body=body)
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    ("interpreter", "first_line"),
    [
        ("", "#!/bin/bash -eu"),
        ("/bin/bash", "#!/bin/bash"),
        ("/bin/bash", "#! /usr/bin/bash "),
        ("bash -eu", "#!/bin/bash -eu"),
        ("/usr/bin/env python3", "#!/usr/bin/python3"),
        ("/usr/bin/python3 -u", "#!/usr/bin/env -S python3 -u"),
        ("/bin/bash", "echo"),
        ("/bin/bash", "#!"),
        ("/bin/bash", "# !/bin/sh"),
    ],
)
def test_nothing_is_said_of_the_same_program(interpreter: str, first_line: str) -> None:
    body = first_line + "\necho\n"
    assert step_warnings(path="", kind="script", interpreter=interpreter, body=body) == []


@pytest.mark.parametrize(
    ("interpreter", "first_line"),
    [
        ("/bin/sh", "#!/bin/bash"),
        ("/bin/bash", "#!/bin/bash -eu"),
        ("/bin/bash -x", "#!/bin/bash -eu"),
        ("/usr/bin/python3", "#!/opt/python/bin/python3"),
        ("/usr/bin/env python3", "#!/usr/bin/env -S python3 -u"),
        ("'open", "#!/bin/sh"),
        ("/bin/sh", "#!/bin/b\u202eash"),
    ],
)
def test_a_first_line_that_is_not_used_is_told(interpreter: str, first_line: str) -> None:
    body = first_line + "\necho\n"
    (warned,) = step_warnings(path="commands[2]", kind="script", interpreter=interpreter, body=body)
    assert (warned.path, warned.code) == ("commands[2].interpreter", "shebang_not_used")
    assert first_line.replace("\u202e", "\ufffd") in warned.text
    assert interpreter in warned.text


def test_the_first_line_of_a_command_is_not_used_either() -> None:
    (warned,) = step_warnings(
        path="commands[0]", kind="command", interpreter="", body="#!/bin/bash -e\nfalse\n"
    )
    assert (warned.path, warned.code) == ("commands[0].body", "shebang_not_used")
    assert not step_warnings(path="", kind="command", interpreter="", body="#!/bin/sh\nfalse\n")


@pytest.mark.parametrize(
    ("interpreter", "body", "runner"),
    [
        ("", "echo", "/bin/sh"),
        ("", "#!\necho", "/bin/sh"),
        ("", "#! /bin/bash  -e \necho", "/bin/bash  -e"),
        ("python3", "#!/bin/bash", "python3"),
    ],
)
def test_who_runs_a_script(interpreter: str, body: str, runner: str) -> None:
    assert runner_of(interpreter=interpreter, body=body) == runner


@pytest.mark.parametrize("before", ["\n", "  ", "\t\n \n"])
def test_a_first_line_behind_blanks_is_not_used_and_that_is_said(before: str) -> None:
    (warned,) = step_warnings(
        path="commands[0]",
        kind="script",
        interpreter="",
        body=f"{before}#!/bin/bash -e\nfalse\necho no\n",
    )
    assert (warned.path, warned.code) == ("commands[0].body", "shebang_not_used")
    assert "#!/bin/bash -e" in warned.text
