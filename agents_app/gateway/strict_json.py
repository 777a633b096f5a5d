"""JSON without ambiguity: typed, bounded, no duplicate keys, errors that name the field."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from agents_app.gateway.http import Problem, invalid

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

# Many times what the largest legal request has; these bound the time of the second pass.
_MAX_OBJECTS = 10_000
_MAX_VALUES = 100_000
# What stands between what is wrong and where, in msgspec's messages.
_AT = " - at `$"
# An error may quote what was sent; this much of it helps, the rest would only be sent back.
_TEXT_CHARACTERS = 500
_SHORT = 2048
# An escaped quote, any character by number, an escaped backslash.
_DOUBT = re.compile(rb'\\["u\\]')
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_MISSING = re.compile(r"missing required field `(?P<name>[^`]+)`")


class _Duplicate(ValueError):
    """A key that an object has twice."""


def decode(body: bytes, decoder: msgspec.json.Decoder[T]) -> T:
    """Decode and validate a body.

    Raises Problem (400) that names the field, or ``body`` when it is not JSON at all.
    """
    try:
        value = decoder.decode(body)
        # In here too: what the decoder skips over it does not read as text.
        _refuse_duplicate_keys(body)
    except msgspec.ValidationError as error:
        raise problem_of(error) from None
    except RecursionError:
        raise invalid("the JSON is nested too deeply", "body") from None
    except UnicodeDecodeError:
        raise invalid("the body is not UTF-8", "body") from None
    except msgspec.DecodeError as error:
        raise invalid(str(error), "body") from None
    return value


def problem_of(error: msgspec.ValidationError) -> Problem:
    """Return a 400 that names the field at fault, ``body`` where that is all of it."""
    message = str(error)
    what, _at, path = message.rpartition(_AT)
    if not what:
        what, path = message, ""
    what, path = what[:_TEXT_CHARACTERS], path[:_TEXT_CHARACTERS].rstrip("`").lstrip(".")
    missing = _MISSING.search(what)
    if missing:
        path = f"{path}.{missing['name']}" if path else missing["name"]
    return invalid(f"{what}{_AT}.{path}`" if path else what, path or "body", what)


def _plain(body: bytes, ends: int) -> bool:
    """Tell whether each of ``ends`` times ``":`` ends a key, or begins a text with a colon.

    That is so when no quote is escaped and no space stands before a colon. What has colons in its
    texts may be plain too; it is not told from what has not, for that would take as long.
    """
    if len(body) > _SHORT or body.count(b":") != ends:
        return False
    return _DOUBT.search(body) is None


def _refuse_crowds(body: bytes) -> None:
    """Refuse so many texts or values that parsing them would hold the interpreter for long.

    Long texts are parsed fast; a comma or a quote inside one does not count.
    """
    if body.count(b",") <= _MAX_VALUES and body.count(b'"') <= _MAX_VALUES:
        return
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    pieces = bare.split(b'"', 2 * _MAX_VALUES)
    if len(pieces) > _MAX_VALUES or sum(p.count(b",") for p in pieces[::2]) > _MAX_VALUES:
        raise invalid(f"there are more than {_MAX_VALUES} values", "body")


def _refuse_duplicate_keys(body: bytes) -> None:
    # msgspec keeps the last of two equal keys without a word, and so might whatever stands between
    # an agent and us keep the first: the standard parser shows the pairs. Most bodies are plain and
    # spared it: there they have as many keys as what was kept of them.
    ends = body.count(b'":')
    if _plain(body, ends) and ends == _encode(_decode(body)).count(b'":'):
        return
    _refuse_crowds(body)
    objects = 0

    def note(pairs: Sequence[tuple[str, Any]]) -> None:
        nonlocal objects
        objects += 1
        if objects > _MAX_OBJECTS:
            raise ValueError("too many objects")
        seen: set[str] = set()
        for key, _value in pairs:
            if key in seen:
                raise _Duplicate(key)
            seen.add(key)

    try:
        json.loads(body.decode(), object_pairs_hook=note)
    except _Duplicate as error:
        key = str(error)[:100]
        raise invalid(f"the key {key!r} is there twice", key) from None
    except RecursionError:
        raise invalid("the JSON is nested too deeply", "body") from None
    except ValueError as error:
        raise invalid(f"the JSON cannot be read: {str(error)[:200]}", "body") from None
