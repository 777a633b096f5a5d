"""The words of the audit trail: every act on a task or host has some, states have theirs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.utils import translation

from devops_manager.access.models import AuditEvent
from devops_manager.pages.acts import ACTS, act_label, status_change

ROOT = Path(__file__).resolve().parents[2]
_RECORDED = re.compile(r'"((?:task|host|result)\.[a-z_]+)"')


def test_every_act_on_a_task_or_host_has_words() -> None:
    recorded = {
        action
        for app in ("agents_app", "hosts_app", "tasks_app")
        for part in ("services", "queue", "gateway")
        for source in (ROOT / app / part).rglob("*.py")
        for action in _RECORDED.findall(source.read_text())
    }
    assert {"task.start", "host.enroll", "result.conflict"} <= recorded
    assert recorded <= set(ACTS)


def test_an_unknown_act_is_shown_as_it_is_recorded() -> None:
    assert act_label("task.renamed_in_a_later_release") == "task.renamed_in_a_later_release"


@pytest.mark.parametrize(
    ("kind", "before", "after", "english", "chinese"),
    [
        ("task", {"status": "pending"}, {"status": "running"}, "Not started → Running", None),
        ("host", {"status": "pending"}, {"status": "active"}, None, "待批准 → 已启用"),
        ("host", None, {"status": "pending"}, "→ Pending approval", None),
        ("task", {"status": "odd"}, {"status": "running"}, "odd → Running", None),
        ("task", {"name": "a"}, {"name": "b"}, "", ""),
        ("task", None, None, "", ""),
        ("user", {"status": "pending"}, {"status": "x"}, "pending → x", "pending → x"),
    ],
)  # fmt: skip
def test_states_are_in_words(
    kind: str,
    before: dict[str, str] | None,
    after: dict[str, str] | None,
    english: str | None,
    chinese: str | None,
) -> None:
    event = AuditEvent(object_type=kind, before=before, after=after)
    for language, words in (("en", english), ("zh-hans", chinese)):
        if words is not None:
            with translation.override(language):
                assert status_change(event) == words
