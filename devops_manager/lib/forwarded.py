"""Reads the header ``Forwarded`` (RFC 7239) strictly, in one pass from left to right.

Its left part is the client's own to write. A reader that forgives mistakes can be made to take the
entry of a proxy for a part of the client's text (``for=192.0.2.66;x="`` swallows what follows up to
the next quote). So one mistake anywhere makes the whole header worth nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
# Not of a token; proxies write addresses with ports and brackets without the quotes all the same.
_BARE = _TOKEN | frozenset(":[]")
_BLANK = " \t"


@dataclass(frozen=True, slots=True)
class Hop:
    """What one proxy says of whom it speaks for."""

    address: str
    scheme: str = ""


class _Malformed(Exception):
    """The header is none."""


def parse_forwarded(text: str) -> list[Hop]:
    """Return the entries from left to right; none for a header that is not well formed."""
    try:
        return _elements(text)
    except _Malformed:
        return []


def _elements(text: str) -> list[Hop]:
    hops: list[Hop] = []
    at = 0
    while True:
        pairs: dict[str, str] = {}
        at = _pair(text, at, pairs)
        while text[at : at + 1] == ";":
            at = _pair(text, at + 1, pairs)
        if pairs:
            hops.append(Hop(pairs.get("for", ""), pairs.get("proto", "").lower()))
        if at == len(text):
            return hops
        if text[at] != ",":
            raise _Malformed
        at += 1


def _pair(text: str, at: int, pairs: dict[str, str]) -> int:
    """Read ``name=value`` or nothing at all; return where it ends."""
    at = _skip(text, at)
    name, at = _run(text, at, _TOKEN)
    if not name:
        return at
    name = name.lower()
    if text[at : at + 1] != "=" or name in pairs:
        raise _Malformed
    at += 1
    if text[at : at + 1] == '"':
        pairs[name], at = _quoted(text, at + 1)
    else:
        pairs[name], at = _run(text, at, _BARE)
    return _skip(text, at)


def _quoted(text: str, at: int) -> tuple[str, int]:
    piece: list[str] = []
    while at < len(text):
        character = text[at]
        if character == '"':
            return "".join(piece), at + 1
        if character == "\\":
            at += 1
            character = text[at : at + 1]
        piece.append(character)
        at += 1
    raise _Malformed


def _run(text: str, at: int, characters: frozenset[str]) -> tuple[str, int]:
    end = at
    while end < len(text) and text[end] in characters:
        end += 1
    return text[at:end], end


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _BLANK:
        at += 1
    return at
