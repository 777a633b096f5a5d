"""docs/settings.md names every variable that settings.py reads, with its default and its range."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from django.conf import settings

DOCUMENT = settings.BASE_DIR / "docs" / "settings.md"
SOURCE = settings.BASE_DIR / "devops_manager" / "settings.py"
READERS = {"flag", "integer", "seconds", "text", "words", "postgres", "redis"}


def calls() -> dict[str, ast.Call]:
    """Return the calls of ``env.…`` in settings.py by the variable that they read."""
    tree = ast.parse(Path(SOURCE).read_text(encoding="utf-8"))
    found: dict[str, ast.Call] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id == "env" and node.func.attr in READERS:
                name = node.args[0]
                assert isinstance(name, ast.Constant)
                found[str(name.value)] = node
    return found


def rows() -> dict[str, list[str]]:
    """Return the rows of the page's first four tables by variable."""
    text = DOCUMENT.read_text(encoding="utf-8").split("## Not read by settings.py")[0]
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        match = re.match(r"\| `(\w+)` \|", line)
        if match:
            assert match[1] not in found
            found[match[1]] = [cell.strip() for cell in line.strip("|").split(" | ")]
    return found


def test_every_setting_is_on_the_page_and_nothing_else() -> None:
    assert set(rows()) == set(calls())


def test_defaults_and_ranges_are_those_of_the_code() -> None:
    documented = rows()
    for name, call in calls().items():
        kind = call.func.attr if isinstance(call.func, ast.Attribute) else ""
        if kind not in {"integer", "seconds"} or not isinstance(call.args[1], ast.Constant):
            continue
        _name, default, limits, _what = documented[name]
        assert float(default) == call.args[1].value, name
        keywords = {word.arg: ast.literal_eval(word.value) for word in call.keywords}
        numbers = [float(text.replace(",", "")) for text in re.findall(r"[\d.,]*\d", limits)]
        expected = [float(keywords[key]) for key in ("low", "high") if key in keywords]
        assert numbers == expected, name
