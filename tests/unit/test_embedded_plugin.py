"""The pytest plugin's arithmetic, and the choice of the terminal's language."""

from __future__ import annotations

import pytest

from devops_manager.embedded.language import chosen_languages
from devops_manager.embedded.pytest_plugin import own_redis_url


@pytest.mark.parametrize(
    ("url", "worker", "expected"),
    [
        ("redis://:pw@127.0.0.1:1/0", "gw0", "redis://:pw@127.0.0.1:1/1"),
        ("redis://127.0.0.1:1/3", "gw1", "redis://127.0.0.1:1/5"),
        ("redis://127.0.0.1:1", "gw2", "redis://127.0.0.1:1/3"),
    ],
)
def test_each_worker_has_a_redis_database(url: str, worker: str, expected: str) -> None:
    assert own_redis_url(url, worker) == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"LANG": "zh_CN.UTF-8"}, ["zh_Hans"]),
        ({"LANG": "en_US.UTF-8"}, []),
        ({"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, []),
        ({"LC_MESSAGES": "zh_SG", "LANG": "C"}, ["zh_Hans"]),
        ({}, []),
    ],
)
def test_the_terminal_is_spoken_to_in_its_language(
    environment: dict[str, str], expected: list[str]
) -> None:
    assert chosen_languages(environment) == expected
