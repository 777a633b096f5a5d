"""Reads JSON bodies strictly: what is doubtful is refused, with the place where it stands."""

from __future__ import annotations

import json
import math
from typing import IO, TYPE_CHECKING, Any

from django.conf import settings
from django.utils.translation import gettext as _
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.parsers import BaseParser

from devops_manager.lib.errors import InvalidInput, TooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.utils.functional import _StrPromise

MAX_DEPTH = 32
# No object of the API has more fields; an environment has at most 100.
MAX_MEMBERS = 1000
# From here on not every whole number is a float.
_EXACT = 2.0**53
_CODE = "malformed_json"


class _Twice(dict[str, Any]):
    """An object in which ``key`` stood twice; found, and refused with its path, by ``_check``."""

    key: str


class _NotANumber(str):
    """NaN, Infinity or -Infinity, which JSON does not have."""

    __slots__ = ()


def parse_json(body: bytes) -> Any:
    """Return the value of a JSON text in UTF-8.

    Raises InvalidInput (``malformed_json``), naming the place, for text that is not JSON, duplicate
    keys, NaN and infinities, more than 32 levels, NUL characters and lone surrogates.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _malformed(
            "body", _("Not UTF-8: byte %(at)d cannot be read.") % {"at": error.start}
        ) from None
    try:
        value = json.loads(
            text.removeprefix("\ufeff"),
            object_pairs_hook=_object,
            parse_constant=_NotANumber,
            parse_float=_number,
        )
    except json.JSONDecodeError as error:
        raise _malformed(
            "body",
            _("Not JSON: %(what)s at line %(line)d, column %(column)d.")
            % {"what": error.msg, "line": error.lineno, "column": error.colno},
        ) from None
    except RecursionError:
        raise _malformed("body", _too_deep()) from None
    except ValueError:  # a whole number of more than 4300 digits
        raise _malformed("body", _("A number in it is too long.")) from None
    _check(value)
    return value


def join_path(parent: str, key: str | int) -> str:
    """Return the path of a member or an element: ``commands[1].body``."""
    if isinstance(key, int):
        return f"{parent}[{key}]"
    return f"{parent}.{key}" if parent else key


def _number(text: str) -> float | int:
    """Return a number; JSON has one kind of them, so 5.0 and 5e0 are whole ones."""
    value = float(text)
    return int(value) if abs(value) < _EXACT and value.is_integer() else value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    seen: set[str] = set()
    twice = _Twice(value)
    for key, _value in pairs:
        if key in seen:
            twice.key = key
            break
        seen.add(key)
    return twice


def _check(root: Any) -> None:
    """Walk the value without recursion and refuse what PostgreSQL or a reader would choke on."""
    todo: list[tuple[Any, str, int]] = [(root, "", 1)]
    while todo:
        value, path, depth = todo.pop()
        if isinstance(value, (dict, list)) and depth > MAX_DEPTH:
            raise _malformed(path or "body", _too_deep())
        if isinstance(value, dict):
            if len(value) > MAX_MEMBERS:
                raise _malformed(path or "body", _too_many())
            if isinstance(value, _Twice):
                raise _malformed(join_path(path, _shown(value.key)), _("This key stands twice."))
            for key in value:
                _check_text(key, join_path(path, _shown(key)))
            todo.extend((item, join_path(path, key), depth + 1) for key, item in value.items())
        elif isinstance(value, list):
            todo.extend((item, join_path(path, at), depth + 1) for at, item in enumerate(value))
        else:
            _check_scalar(value, path or "body")


def _check_scalar(value: Any, path: str) -> None:
    if isinstance(value, _NotANumber) or (isinstance(value, float) and not math.isfinite(value)):
        raise _malformed(path, _("NaN and infinity are not numbers of JSON."))
    if isinstance(value, str):
        _check_text(value, path)


def _check_text(text: str, path: str) -> None:
    if "\x00" in text:
        raise _malformed(path, _("NUL characters are not allowed."))
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise _malformed(path, _("A lone surrogate is not a character.")) from None


def _shown(key: str) -> str:
    """Return a key as it may stand in an answer: printable and short."""
    return key.encode("ascii", "backslashreplace").decode().replace("\x00", "\\x00")[:100]


def _too_deep() -> str:
    return _("Nested more than %(depth)d levels deep.") % {"depth": MAX_DEPTH}


def _too_many() -> str:
    return _("More than %(count)d fields.") % {"count": MAX_MEMBERS}


def _malformed(path: str, sentence: str | _StrPromise) -> InvalidInput:
    return InvalidInput(_("The body cannot be read."), code=_CODE, fields={path: [sentence]})


class StrictJSONParser(BaseParser):
    """DRF's parser for ``application/json``; reads at most DM_MAX_BODY_BYTES into memory."""

    media_type = "application/json"
    max_bytes: int | None = None

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the body's value. Raises InvalidInput or TooLarge."""
        request = (parser_context or {}).get("request")
        if (
            request is not None
            and request.META.get("HTTP_CONTENT_ENCODING", "identity") != "identity"
        ):
            raise UnsupportedMediaType(request.META["HTTP_CONTENT_ENCODING"])
        limit = self.max_bytes or settings.DATA_UPLOAD_MAX_MEMORY_SIZE or 0
        if _announced_bytes(parser_context) > limit:
            raise _too_large(limit)
        body = stream.read(limit + 1)
        if len(body) > limit:
            raise _too_large(limit)
        return parse_json(body)


class SmallJSONParser(StrictJSONParser):
    """For what anyone may send without signing in: a few names and words."""

    max_bytes = 16_384


def _announced_bytes(parser_context: Mapping[str, Any] | None) -> int:
    request = (parser_context or {}).get("request")
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0) if request is not None else 0
    except ValueError:
        return 0


def _too_large(limit: int) -> TooLarge:
    return TooLarge(
        _("The body is larger than %(limit)d bytes.") % {"limit": limit},
        fields={"body": [_("Send less at once.")]},
    )
