"""Which program runs a script: the interpreter that was given, else its first line, else the shell.

The first line is read here and not by the kernel, so that a script also runs from a file system
that is mounted ``noexec``, and its line may be longer than the kernel reads.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Sequence

SHELL = "/bin/sh"

_BLANKS = re.compile(r"[ \t]+")
# What env does to words with these in them is not worth repeating here.
_UNKNOWABLE = frozenset("=$\\")
_LONGEST_SPLIT = 1000


def interpreter_of(interpreter: str, body: str) -> list[str]:
    """The words that come before the script's path. Raises ValueError for a quote left open."""
    return shlex.split(interpreter) or shebang(body) or [SHELL]


def shebang(body: str) -> list[str]:
    """The words of a first line ``#!…`` as Linux takes them: the program, then one argument.

    Empty where the text has no such line, or names nothing in it.
    """
    if not body.startswith("#!"):
        return []
    words = _BLANKS.split(body.partition("\n")[0][2:].strip(" \t"), maxsplit=1)
    if not words[0]:
        return []
    # The kernel looks in the working directory, never in PATH.
    program = words[0] if "/" in words[0] else f"./{words[0]}"
    return [program, *words[1:]]


def missing_from_path(words: Sequence[str], path: str) -> str:
    """The program that ``env`` in front of it would not find; empty if it may, for all we know."""
    if words[0].rpartition("/")[2] != "env" or not words[1:]:
        return ""
    program = _program_of_env(words[1:])
    if not program or not all(entry.startswith("/") for entry in path.split(os.pathsep)):
        return ""
    if "/" in program and not program.startswith("/"):
        return ""
    return "" if shutil.which(program, path=path) else program


def _program_of_env(words: Sequence[str]) -> str:
    """The program in env's arguments, if nothing that changes how it is found precedes it."""
    first, rest = words[0], list(words[1:])
    if first in ("-S", "--split-string"):
        first, rest = " ".join(rest[:1]), rest[1:]
    elif first.startswith("-S"):
        first = first[2:]
    elif first.startswith("--split-string="):
        first = first.partition("=")[2]
    else:
        return "" if first.startswith("-") or _UNKNOWABLE & set(first) else first
    try:
        split = shlex.split(first) if len(first) <= _LONGEST_SPLIT else []
    except ValueError:
        return ""
    if not split or split[0].startswith("-") or _UNKNOWABLE & set(split[0]):
        return ""
    return split[0]
