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


# Not prose: placeholders, addresses, code, paths, names of files and settings.
_NOT_PROSE = re.compile(
    r"%\(\w+\)[\d.]*[a-z]|%[sdr]|`[^`]*`|\]\([^)]*\)|https?://[\x21-\x7e]+|(?<![\w/])/[\w./-]+"
)
_CHINESE = "\u3400-\u9fff"
# ASCII punctuation beside a Chinese character, at most a space between, or beside a placeholder.
_BEFORE, _AFTER = f"[{_CHINESE}¤…”’）】》]", f"[{_CHINESE}¤“‘（【《]"
_ASCII_BESIDE_CHINESE = re.compile(
    rf"{_BEFORE} ?[,;:?!()]|[,;:?!()] ?{_AFTER}|[{_CHINESE}] ?[.\"']|[.\"'] ?[{_CHINESE}]"
)


def ascii_punctuation(text: str) -> list[str]:
    """Return where a Chinese text has punctuation of ASCII; other texts have none to answer for."""
    if not re.search(f"[{_CHINESE}\u3000-\u303f\uff00-\uffef]", text):
        return []
    return _ASCII_BESIDE_CHINESE.findall(_NOT_PROSE.sub("¤", text))


@pytest.mark.parametrize(
    "text",
    ["你好,世界", "你好, 世界", "未知主机: %s", "%(name)s: 未知", "(共 5 项)", "为什么?", "结束.",
     '"你好"', "共 %(count)d 项; 无", "（%(a)s, %(b)s）"],
)  # fmt: skip
def test_ascii_punctuation_in_chinese_is_found(text: str) -> None:
    assert ascii_punctuation(text)


@pytest.mark.parametrize(
    "text",
    ["你好，世界。", "%(name)s：未知", "位于 /admin/ 下，仅限管理员。", "1.5 秒", "%(n).1f 秒",
     "例如 2026-11-24T08:00:00Z。", "Hello, world.", "`a, b`，以及 [文](a.md)。", "API 令牌"],
)  # fmt: skip
def test_chinese_punctuation_is_left_alone(text: str) -> None:
    assert not ascii_punctuation(text)


def test_the_catalogue_has_chinese_punctuation() -> None:
    wrong = {
        text: found
        for message in messages.load(messages.ROOT)
        if message.id
        for text in messages._texts(message.string)
        if (found := ascii_punctuation(text))
    }
    assert wrong == {}


@pytest.mark.parametrize(
    "path",
    sorted([*messages.ROOT.glob("*.zh-CN.md"), *(messages.ROOT / "docs").glob("*.zh-CN.md")]),
    ids=lambda path: path.name,
)
def test_the_chinese_documents_have_chinese_punctuation(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    # A link's brackets belong to Markdown; what it shows is prose.
    lines = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", line) for line in text.splitlines()]
    wrong = {line: found for line in lines if (found := ascii_punctuation(line.replace("**", "")))}
    assert wrong == {}


def test_words_that_were_agreed_on() -> None:
    agreed = {
        "Never": "永不过期", "queued at": "排队时间", "Canceled": "已取消", "canceled": "已取消",
        "It was canceled.": "已被取消。", "agent": "代理", "host": "主机", "task": "任务",
    }  # fmt: skip
    texts = {
        str(message.id): str(message.string)
        for message in messages.load(messages.ROOT)
        if isinstance(message.id, str)
    }
    assert {word: texts[word] for word in agreed if word in texts} == {
        word: text for word, text in agreed.items() if word in texts
    }
    unwanted = ("代理程序", "已撤消", "永久有效", "永不失效", "节点", "派发")
    assert [text for text in texts.values() if any(word in text for word in unwanted)] == []


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
