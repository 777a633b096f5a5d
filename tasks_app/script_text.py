"""How a step's text is read: its line ends, its byte order mark, the program that its first line
names, and what its author should know about it. Pure; the one place for pages and API.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext as _

from devops_manager.lib.parsers import join_path
from tasks_app.models import CommandKind

if TYPE_CHECKING:
    from collections.abc import Sequence

SHEBANG_NOT_USED = "shebang_not_used"

_BYTE_ORDER_MARK = "\ufeff"
_SHOWN_CHARACTERS = 100
_LONGEST_LINE = 1000
_BLANKS = re.compile(r"[ \t]+")
# Programs that take a carriage return at a line's end for a part of the line.
_LINE_FEED_ONLY = re.compile(
    r"(?:r?bash|d?ash|sh|m?ksh(?:93)?|zsh|fish|t?csh|pypy3?|python|perl)[0-9.]*"
)


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that is not wrong, and likely not meant: where, a code for programs, words."""

    path: str
    code: str
    text: str


def clean_body(body: str, *, kind: str, interpreter: str) -> str:
    """Return the text as its program must get it.

    A byte order mark at its beginning goes. Lines end in LF alone where the shell, Python, Perl or
    a program of its first line reads it; for any other interpreter it stays as it is.
    """
    body = body.lstrip(_BYTE_ORDER_MARK)
    if "\r" in body and _is_of_unix(body, kind, interpreter):
        body = "\n".join(line.rstrip("\r") for line in body.split("\n"))
    return body


def _is_of_unix(body: str, kind: str, interpreter: str) -> bool:
    if kind != CommandKind.SCRIPT or not interpreter.strip() or body.startswith("#!"):
        return True
    names = (word.rpartition("/")[2] for word in _words(interpreter))
    return any(_LINE_FEED_ONLY.fullmatch(name) for name in names)


def shebang_line(body: str) -> str:
    """Return the first line if it names a program, without blanks at its end, else nothing."""
    if not body.startswith("#!"):
        return ""
    line = body[:_LONGEST_LINE].partition("\n")[0].rstrip(" \t\r")
    return line if line[2:].strip(" \t") else ""


def runner_of(*, interpreter: str, body: str) -> str:
    """Return the program that runs a script, with its options, as people wrote it."""
    return interpreter.strip() or _shown(shebang_line(body)[2:].strip(" \t")) or "/bin/sh"


def step_warnings(*, path: str, kind: str, interpreter: str, body: str) -> list[Warned]:
    """Return what the author of a step should know, under the step's path."""
    line = shebang_line(body)
    if not line:
        return _misplaced(path, kind, body)
    shown = {"line": _shown(line), "interpreter": _shown(interpreter.strip())}
    if kind != CommandKind.SCRIPT:
        if _program(_words(line[2:])) == ["/bin/sh"]:
            return []
        text = _(
            "/bin/sh runs the command: its first line, %(line)s, is not used, as a script's is."
        )
        return [Warned(join_path(path, "body"), SHEBANG_NOT_USED, text % shown)]
    if not shown["interpreter"] or _is_same(interpreter, line[2:]):
        return []
    text = _(
        "%(interpreter)s runs the script: its first line, %(line)s, is not used, with its options."
    )
    return [Warned(join_path(path, "interpreter"), SHEBANG_NOT_USED, text % shown)]


def _misplaced(path: str, kind: str, body: str) -> list[Warned]:
    """Warn of a script whose first line stands behind blanks, where no system looks for it."""
    line = shebang_line(body.lstrip())
    if not line or kind != CommandKind.SCRIPT:
        return []
    text = _("%(line)s is not used: it does not begin at the first character of the script.")
    return [Warned(join_path(path, "body"), SHEBANG_NOT_USED, text % {"line": _shown(line)})]


def _is_same(interpreter: str, first_line: str) -> bool:
    """Tell whether both start the same program with the same options, found by PATH or by path."""
    given, named = _program(_words(interpreter)), _program(_words(first_line))
    if given[1:] != named[1:]:
        return False
    if all("/" in words[0] for words in (given, named)):
        return given[0] == named[0]
    return given[0].rpartition("/")[2] == named[0].rpartition("/")[2]


def _program(words: Sequence[str]) -> list[str]:
    """Return the words without an env before them; /usr/bin is /bin on most hosts."""
    rest = list(words)
    if len(rest) > 1 and rest[0].rpartition("/")[2] == "env":
        rest = rest[1:]
        if rest[0] in {"-S", "--split-string"}:
            rest = rest[1:]
        elif rest[0].startswith("-S"):
            rest[0] = rest[0][2:]
    if not rest:
        return list(words)
    return [rest[0].removeprefix("/usr") if rest[0].startswith("/usr/bin/") else rest[0], *rest[1:]]


def _shown(text: str) -> str:
    """Return the beginning of a text, with what would not show as it is replaced."""
    cut = text[:_SHOWN_CHARACTERS].replace("\t", " ")
    return "".join(character if character.isprintable() else "\ufffd" for character in cut)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text) or [""]
    except ValueError:
        return _BLANKS.split(text.strip(" \t"))
