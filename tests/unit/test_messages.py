"""The translations are complete, and the tool that says so can say no."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.utils import translation

from devops_manager import messages
from tasks_app.states import RowStatus

# What stays as it is in every language.
_SAME_EVERYWHERE = {
    "DevOps Manager",
    "· DevOps Manager",
    "English",
    "简体中文",
    "Authorization: Bearer",
}
_TAGS = re.compile(r"{%.*?%}|{#.*?#}|{{.*?}}|<script.*?</script>|<[^>]*>|&\w+;", re.DOTALL)
_TRANSLATED = re.compile(r"{%\s*blocktranslate.*?endblocktranslate\s*%}", re.DOTALL)
_CODE = re.compile(r"<(code|pre)\b.*?</\1>", re.DOTALL)


def test_every_string_has_its_translation() -> None:
    assert messages.problems(messages.ROOT) == []


def test_row_states_have_the_agreed_names() -> None:
    agreed = {
        "blocked": "等待前序", "pending": "待执行", "claimed": "已下发", "running": "运行中",
        "completed": "执行完成", "failed": "执行失败", "timeout": "执行超时",
        "dispatch_failed": "下发失败", "canceled": "取消执行", "interrupted": "执行中断",
        "lost": "结果未知", "skipped": "已跳过",
    }  # fmt: skip
    with translation.override("zh-hans"):
        assert {state.value: str(state.label) for state in RowStatus} == agreed


@pytest.mark.parametrize(
    "path", sorted((messages.ROOT / "templates").rglob("*.html")), ids=lambda path: path.name
)
def test_templates_hold_no_words_outside_translations(path: Path) -> None:
    text = _TRANSLATED.sub("", path.read_text(encoding="utf-8"))
    text = _TAGS.sub("\n", _CODE.sub("", text))
    lines = {line.strip() for line in text.splitlines() if re.search(r"[^\W\d_]{2}", line)}
    assert {line for line in lines if line not in _SAME_EVERYWHERE} == set()


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    write(
        tmp_path,
        "devops_manager/a.py",
        'from gettext import gettext as _\nx = _("Hello %(name)s")\n'
        'y = ngettext("%(n)d host", "%(n)d hosts", 2)\nz = pgettext("verb", "Open")\nq = _(x)\n',
    )
    write(
        tmp_path,
        "templates/a.html",
        '<p>\n   {% translate "In a page" %}\n {% blocktranslate trimmed count n=n %}one {{ n }}\n'
        "{% plural %}many {{ n }}{% endblocktranslate %}</p>\n",
    )
    return tmp_path


def fill(root: Path, *texts: str) -> None:
    path = root / messages.CATALOGUE
    po = path.read_text(encoding="utf-8")
    for text in texts:
        po = re.sub(rf'(msgid "{re.escape(text)}"\n(?:msgid_plural.*\n)?msgstr(?:\[0\])?) ""',
                    rf'\1 "译 {text}"', po)  # fmt: skip
    path.write_text(po, encoding="utf-8")


def test_strings_are_found_in_python_and_in_templates(project: Path) -> None:
    assert messages.update(project) == 5
    found = {(message.context, message.id) for message in messages.load(project) if message.id}
    assert found == {
        (None, "Hello %(name)s"),
        (None, ("%(n)d host", "%(n)d hosts")),
        ("verb", "Open"),
        (None, "In a page"),
        (None, ("one %(n)s", "many %(n)s")),
    }
    assert messages.main(["check"], project) == 1


def test_it_tells_what_is_missing_stale_or_wrong(project: Path) -> None:
    messages.main(["update"], project)
    fill(project, "Hello %(name)s", "%(n)d host", "Open", "one %(n)s")
    lines = "\n".join(messages.problems(project))
    assert "not translated: 'In a page'" in lines
    assert "run compile" in lines
    fill(project, "In a page")
    messages.main(["compile"], project)
    assert messages.main(["check"], project) == 0
    path = project / messages.CATALOGUE
    good = path.read_text(encoding="utf-8")
    path.write_text(good.replace("译 Hello %(name)s", "译 Hello"), encoding="utf-8")
    assert "placeholders" in "\n".join(messages.problems(project))
    path.write_text(good.replace('msgctxt "verb"', '#, fuzzy\nmsgctxt "verb"'), encoding="utf-8")
    assert "fuzzy" in "\n".join(messages.problems(project))
    path.write_text(good, encoding="utf-8")
    write(project, "templates/a.html", "")
    assert "no longer used: 'In a page'" in "\n".join(messages.problems(project))
    assert messages.update(project) == 0
    assert "In a page" not in path.read_text(encoding="utf-8")
