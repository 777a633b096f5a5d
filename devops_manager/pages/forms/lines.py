"""Lists and names with values as lines of text, and back, without losing a character.

A plain line stands for itself, with the spaces at its ends. What a line cannot show (line breaks,
spaces at its ends, nothing at all) is written as a JSON string in double quotes; so is what begins
with a double quote.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


def to_lines(values: Iterable[str]) -> str:
    """Return texts one a line."""
    return "\n".join(_shown(value) for value in values)


def from_lines(text: str) -> list[str]:
    """Return the texts that lines write; empty lines count for nothing."""
    return [_read(line) for line in text.split("\n") if line.strip()]


def to_assignments(values: Mapping[str, str]) -> str:
    """Return names and values as ``NAME=value``, one a line."""
    return "\n".join(f"{name}={_shown(value) if value else ''}" for name, value in values.items())


def from_assignments(text: str) -> tuple[dict[str, str], list[str]]:
    """Return what ``NAME=value`` lines say, and the lines that say no such thing or repeat one."""
    values: dict[str, str] = {}
    wrong: list[str] = []
    for line in text.split("\n"):
        if not line.strip():
            continue
        name, equals, value = line.partition("=")
        name = name.strip()
        if not equals or not name or name in values:
            wrong.append(line.strip())
        else:
            values[name] = _read(value)
    return values, wrong


def words(text: str) -> list[str]:
    """Return the entries of a list separated by commas or line breaks."""
    return [word.strip() for word in text.replace("\n", ",").split(",") if word.strip()]


def _shown(value: str) -> str:
    plain = value and value == value.strip() and value.isprintable() and not value.startswith('"')
    return value if plain else json.dumps(value, ensure_ascii=False)


def _read(line: str) -> str:
    quoted = line.strip()
    if len(quoted) > 1 and quoted.startswith('"') and quoted.endswith('"'):
        try:
            value = json.loads(quoted)
        except ValueError:
            return line
        return value if isinstance(value, str) else line
    return line
