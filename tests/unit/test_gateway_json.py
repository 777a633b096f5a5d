"""The gateway's short cut around the second pass for duplicate keys finds them all the same."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents_app.gateway.http import Problem
from agents_app.gateway.strict_json import decode

ANYTHING = msgspec.json.Decoder(Any)
# An object is a list of pairs here, so that a key may come twice.
keys = st.text("ab,{:", max_size=2)
SPACE = ("", " ", "")
texts = st.text('ab":,{\\ ', max_size=4)
values = st.recursive(
    st.integers() | texts,
    lambda inner: (
        st.lists(inner, max_size=3) | st.tuples(st.lists(st.tuples(keys, inner), max_size=3))
    ),
    max_leaves=8,
)


def written(value: Any) -> str:
    if isinstance(value, tuple):
        pairs = [f"{json.dumps(key)}{SPACE[len(key)]}:{written(inner)}" for key, inner in value[0]]
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(written, value)) + "]"
    return json.dumps(value)


def has_twice(value: Any) -> bool:
    if isinstance(value, tuple):
        names = [key for key, _ in value[0]]
        return len(names) > len(set(names)) or any(has_twice(inner) for _, inner in value[0])
    return isinstance(value, list) and any(map(has_twice, value))


@given(values)
def test_an_object_with_a_key_twice_is_refused_and_no_other(value: Any) -> None:
    body = written(value).encode()
    if has_twice(value):
        with pytest.raises(Problem, match="twice"):
            decode(body, ANYTHING)
    else:
        assert decode(body, ANYTHING) == json.loads(body)
