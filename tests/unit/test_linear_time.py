"""Nothing that an agent, a person or a task's text sends costs more than linear time.

Time is the thread's own CPU time: other processes on the machine do not make a test fail. Each
input is doubled up to the largest output cap, and stops at the first size that is too slow, so a
quadratic function fails within seconds.
"""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from re import _constants, _parser  # type: ignore[attr-defined]
from types import ModuleType
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents_app.agent.output import Capture, encode_parts, whole_characters
from agents_app.gateway import messages
from agents_app.gateway.authentication import Caller
from agents_app.gateway.http import Problem
from agents_app.gateway.results import Unstorable, cap, result_of
from agents_app.gateway.strict_json import decode
from devops_manager.lib.decoding import CHARSETS
from devops_manager.lib.one_line import is_one_line, visible_text
from devops_manager.pages import reasons
from devops_manager.pages.forms import lines
from devops_manager.pages.terminal_text import inert_text
from tasks_app.normalize import normalized_digest
from tasks_app.records import StreamOutput
from tasks_app.selectors.outputs import stream_view

CAP = 1_048_576  # the largest DM_OUTPUT_CAP_BYTES
FIRST = 4096
PATTERN_CAP = 131_072  # a quadratic search would take seconds here
SECONDS_PER_CHARACTER = 1e-6
START_SECONDS = 0.05
APPS = ("devops_manager", "hosts_app", "tasks_app", "agents_app")
ROOT = Path(__file__).resolve().parents[2]
FENCE = UUID("0198e000-0000-8000-8000-000000000000")


def assert_linear(
    function: Callable[[str], object], make: Callable[[int], str], most: int = CAP
) -> None:
    """Run a function on inputs of doubled size; fail at the first that takes too long."""
    size = FIRST
    while size <= most:
        text = make(size)
        began = time.thread_time()
        with suppress(Problem, Unstorable, UnicodeError):
            function(text)
        took = time.thread_time() - began
        allowed = START_SECONDS + len(text) * SECONDS_PER_CHARACTER
        assert took < allowed, f"{took:.2f} s for {len(text)} characters of {text[:40]!r}…"
        size *= 2


# --- every compiled regular expression --------------------------------------------------------


def production_modules() -> Iterator[ModuleType]:
    for app in APPS:
        package = importlib.import_module(app)
        for found in pkgutil.walk_packages(package.__path__, f"{app}."):
            if not re.search(r"\.migrations\.|__main__|\.(wsgi|asgi|celery)$", found.name):
                yield importlib.import_module(found.name)


def compiled_patterns() -> dict[str, re.Pattern[str] | re.Pattern[bytes]]:
    return {
        f"{module.__name__}.{name}": value
        for module in production_modules()
        for name, value in vars(module).items()
        if isinstance(value, re.Pattern) and module.__name__.startswith(APPS)
    }


def samples(pattern: re.Pattern[str] | re.Pattern[bytes]) -> set[str]:
    """Return a character or two of each class and literal in a pattern."""
    found: set[str] = set()

    def walk(node: object) -> None:
        if isinstance(node, tuple) and len(node) == 2:
            operation, argument = node
            if operation in {_constants.LITERAL, _constants.NOT_LITERAL}:
                found.add(chr(argument))
            elif operation is _constants.RANGE:
                found.update({chr(argument[0]), chr(argument[1])})
            elif operation is _constants.CATEGORY:
                found.update("a1 _")
            elif operation is _constants.ANY:
                found.add("x")
        if isinstance(node, (tuple, list, _parser.SubPattern)):
            for item in node:
                walk(item)

    walk(_parser.parse(pattern.pattern, pattern.flags))
    return {character for character in found if character.isascii() or ord(character) < 0x10000}


def literal_prefix(pattern: re.Pattern[str] | re.Pattern[bytes]) -> str:
    """Return the first characters that a match could begin with, as far as they are literal."""
    prefix = ""
    for operation, argument in _parser.parse(pattern.pattern, pattern.flags):
        if operation is not _constants.LITERAL:
            break
        prefix += chr(argument)
    return prefix


@pytest.mark.parametrize("name", sorted(compiled_patterns()))
def test_a_regular_expression_is_linear(name: str) -> None:
    pattern = compiled_patterns()[name]
    binary = isinstance(pattern.pattern, bytes)

    def use(text: str) -> None:
        if binary:
            pattern.sub(b"", text.encode("latin-1", "replace"))  # type: ignore[arg-type]
        else:
            pattern.sub("", text)  # type: ignore[arg-type]

    alphabet = sorted(samples(pattern))
    prefix = literal_prefix(pattern)
    units = [*alphabet, *(prefix + one for one in alphabet if prefix)]
    units += [one + two for one in alphabet for two in alphabet if one != two][:60]
    for unit in units:
        for end in ("", "\n!", "\x00"):
            assert_linear(
                use,
                lambda n, u=unit, e=end: prefix + u * (n // len(u)) + e,  # type: ignore[misc]
                PATTERN_CAP,
            )


def test_regular_expressions_are_module_constants() -> None:
    """One that is made inside a function would escape the test above."""
    made = {"sub", "subn", "match", "search", "fullmatch", "findall", "finditer", "split"}
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for app in APPS
        for path in (ROOT / app).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and (node.func.value.id, node.func.attr in made) == ("re", True)
        and isinstance(node.args[0], ast.Constant)
    ]
    assert not wrong


# --- every function that reads foreign text ---------------------------------------------------


def digest(text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    normalized_digest(StreamOutput(data), StreamOutput(b"", data, 7))


def keep(text: str) -> None:
    stream = messages.StreamMessage(head=text, tail=text, dropped_bytes=1)
    message = messages.ResultMessage(FENCE, "completed", 0, stdout=stream)
    result_of(message, Caller(1, FENCE, 1), cap_bytes=CAP)


def keep_base64(text: str) -> None:
    stream = messages.StreamMessage("base64", text)
    message = messages.ResultMessage(FENCE, "completed", 0, stdout=stream)
    result_of(message, Caller(1, FENCE, 1), cap_bytes=CAP)


def reported(text: str) -> None:
    item = {"fence": str(FENCE), "status": "completed", "exit_code": 0, "stdout": {"head": text}}
    decode(json.dumps({"results": [item]}).encode(), messages.REPORT)


def unknown_word(text: str) -> None:
    item = {"fence": str(FENCE), "stream": text, "offset": 0, "data": ""}
    decode(json.dumps({"output": [item]}).encode(), messages.REPORT)


def raw_body(text: str) -> None:
    decode(text.encode("utf-8", "surrogatepass"), messages.POLL)


def raw_list(text: str) -> None:
    decode(b'{"x":[' + text.encode("utf-8", "surrogatepass") + b"1]}", messages.REPORT)


def printed(text: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    capture = Capture(CAP)
    for at in range(0, len(data), 4096):
        capture.feed(data[at : at + 4096])
    capture.as_record()
    whole_characters(data)
    encode_parts(data, data)


def viewed(text: str, charset: str) -> None:
    data = text.encode("utf-8", "surrogatepass")
    stream_view(data, data, 3 * len(data), encoding="text", charset=charset)


def cut(text: str) -> None:
    cap(StreamOutput(text.encode("utf-8", "surrogatepass"), b"", 0), 1024)


FUNCTIONS: dict[str, Callable[[str], object]] = {
    "inert_text": inert_text,
    "normalized_digest": digest,
    "result_of": keep,
    "result_of base64": keep_base64,
    "decode report": reported,
    "decode unknown word": unknown_word,
    "decode raw body": raw_body,
    "decode raw list": raw_list,
    "agent output": printed,
    **{f"stream_view {charset}": partial(viewed, charset=charset) for charset in CHARSETS},
    "cap": cut,
    "is_one_line": is_one_line,
    "visible_text": visible_text,
    "reason": lambda text: reasons.reason("odd", text),
    "from_lines": lines.from_lines,
    "from_assignments": lines.from_assignments,
    "words": lines.words,
}

UNITS = (
    " ",
    "\t",
    "\r",
    "\n",
    " \n",
    " \r\n",
    "a",
    "a\r",
    "\r\r\n",
    "\x1b",
    "\x1b[",
    "\x1b[0",
    "0;",
    "\x1b[ ",
    "\x1b]",
    "\x1b]0;",
    "\x1b]0;a\x07",
    "\x1bP",
    "\x1b[m",
    "\x9b",
    "\x9b1",
    "\x9d",
    "\x00",
    "\x7f",
    "\u202e",
    "\u200b",
    "中",
    "é",
    "\U0001f600",
    '"',
    "\\",
    '\\"',
    ",",
    "1,",
    '"",',
    "[",
    "]",
    "[1]",
    "{",
    '{"a":',
    "}",
    ":",
    '":',
    "=",
    "A=1\n",
    "=\n",
    " - at `$",
    "`",
    "$",
    "missing required field `",
)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_over_foreign_text_is_linear(name: str) -> None:
    for unit in UNITS:
        assert_linear(FUNCTIONS[name], lambda n, u=unit: u * (n // len(u)))  # type: ignore[misc]


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=25, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_mixture_is_linear(name: str, data: st.DataObject) -> None:
    units = st.sampled_from(UNITS)
    parts = data.draw(
        st.lists(st.tuples(units, st.sampled_from((1, 7, 999))), min_size=1, max_size=5)
    )
    unit = "".join(one * times for one, times in parts)
    assert_linear(FUNCTIONS[name], lambda n: unit * max(1, n // len(unit)))
