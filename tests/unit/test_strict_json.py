"""Bodies that are doubtful are refused, with the place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devops_manager.lib.errors import InvalidInput
from devops_manager.lib.parsers import MAX_DEPTH, parse_json

DEEP = b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b'{"a": 1, "a": 2}', "a"),
        (b'{"a": [{"b": 1}, {"c": 1, "c": 1}]}', "a[1].c"),
        (b'{"a": NaN}', "a"),
        (b'{"a": [1, -Infinity]}', "a[1]"),
        (b'{"a": 1e999}', "a"),
        (b'{"a": {"b": "x\\u0000y"}}', "a.b"),
        (b'{"a\\u0000": 1}', "a\\x00"),
        (b'["\\ud800"]', "[0]"),
        (b"NaN", "body"),
        (b"", "body"),
        (b"{", "body"),
        (b"\xff\xfe", "body"),
        (b'{"a": "\xc3\x28"}', "body"),
        (b"1" * 5000, "body"),
        (b"[" * 200_000, "body"),
    ],
)
def test_a_doubtful_body_is_refused_by_place(body: bytes, place: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        parse_json(body)
    assert raised.value.code == "malformed_json"
    assert list(raised.value.fields) == [place]


def test_depth_ends_at_the_limit() -> None:
    assert parse_json(DEEP[1:-1])
    with pytest.raises(InvalidInput) as raised:
        parse_json(DEEP)
    assert list(raised.value.fields) == ["[0]" * MAX_DEPTH]


def test_a_byte_order_mark_is_passed_over() -> None:
    assert parse_json(b'\xef\xbb\xbf{"a": "\xe4\xbd\xa0"}') == {"a": "你"}


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_plain_json_comes_through_unchanged(value: Any) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@given(st.binary())
def test_any_bytes_either_parse_or_are_refused_in_words(body: bytes) -> None:
    refused: InvalidInput | None = None
    try:
        parse_json(body)
    except InvalidInput as error:
        refused = error
    assert refused is None or refused.fields


@pytest.mark.parametrize(
    ("text", "value"), [("5.0", 5), ("5e0", 5), ("-1.0", -1), ("0.5", 0.5), ("1e300", 1e300)]
)
def test_json_has_one_kind_of_numbers(text: str, value: float) -> None:
    found = parse_json(text.encode())
    assert (found, type(found)) == (value, type(value))
