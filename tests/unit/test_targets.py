"""The form of a target."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from devops_manager.lib.errors import InvalidInput
from hosts_app.targets import MAX_NAMES, Selection, Target, parse_target, to_json

ONE, TWO = uuid.UUID(int=1), uuid.UUID(int=2)


def test_a_target_goes_to_json_and_back() -> None:
    target = Target(
        hosts=(ONE, TWO),
        groups=("web",),
        tags=("blue",),
        exclude=Selection(hosts=(TWO,), tags=("old",)),
    )
    assert parse_target(to_json(target)) == target
    assert to_json(parse_target({"all": True, "hosts": [], "exclude": {}})) == {"all": True}


def test_a_host_is_an_id_or_a_name() -> None:
    target = parse_target({"hosts": ["web-1", str(ONE), "服务器-1", "web-1"]})
    assert (target.hosts, target.names) == ((ONE,), ("web-1", "服务器-1"))
    assert parse_target(to_json(target)) == target
    assert parse_target({"exclude": {"hosts": ["web-1"]}}).exclude.names == ("web-1",)
    assert parse_target({"hosts": ["web-1"]})


def test_entries_count_once_in_their_order() -> None:
    target = parse_target({"hosts": [str(TWO), str(ONE), str(TWO)], "tags": ["b", "a", "b"]})
    assert target.hosts == (TWO, ONE)
    assert target.tags == ("b", "a")


@pytest.mark.parametrize(
    "value", [{}, {"hosts": []}, {"exclude": {"all_but": 1}} | {"exclude": {}}]
)
def test_an_empty_target_is_false(value: Any) -> None:
    assert not parse_target(value)


@pytest.mark.parametrize(
    ("value", "places"),
    [
        (None, {"target"}),
        ([], {"target"}),
        ("all", {"target"}),
        ({"host": []}, {"target.host"}),
        ({"all": 1}, {"target.all"}),
        ({"all": "true"}, {"target.all"}),
        ({"hosts": "x"}, {"target.hosts"}),
        ({"hosts": ["two words\n", str(ONE), 7]}, {"target.hosts[0]", "target.hosts[2]"}),
        ({"groups": [""]}, {"target.groups[0]"}),
        ({"tags": [None, "a", " "]}, {"target.tags[0]", "target.tags[2]"}),
        ({"tags": ["a"] * (MAX_NAMES + 1)}, {"target.tags"}),
        ({"exclude": []}, {"target.exclude"}),
        ({"exclude": {"all": True}}, {"target.exclude.all"}),
        (
            {"exclude": {"hosts": ["a\u200bb"], "exclude": {}}},
            {"target.exclude.hosts[0]", "target.exclude.exclude"},
        ),
    ],
)
def test_every_wrong_place_is_named(value: Any, places: set[str]) -> None:
    with pytest.raises(InvalidInput) as raised:
        parse_target(value)
    assert set(raised.value.fields) == places


def test_a_hundred_and_one_mistakes_are_enough_to_know() -> None:
    names = {f"k{no}": 1 for no in range(900)}
    lists = {"hosts": [" x"] * 10_000, "tags": [1] * 500}
    for value in (names, lists, {"exclude": lists}, {"exclude": names}):
        with pytest.raises(InvalidInput) as caught:
            parse_target(value)
        assert len(caught.value.fields) == 101
