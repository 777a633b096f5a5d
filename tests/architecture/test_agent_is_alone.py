"""The agent is standard library only, plus the one protocol module, and so is that."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
AGENT = sorted((PROJECT / "agents_app" / "agent").rglob("*.py"))
SHARED = [PROJECT / "agents_app" / "protocol.py"]
OWN = ("agents_app.agent", "agents_app.protocol")


def imported_modules(path: Path) -> set[str]:
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            prefix = node.module or ""
            modules |= {f"{prefix}.{alias.name}" for alias in node.names}
    return modules


def test_only_the_standard_library_and_the_protocol() -> None:
    foreign = {
        (path.name, module)
        for path in AGENT + SHARED
        for module in imported_modules(path)
        if module.split(".")[0] not in sys.stdlib_module_names and not module.startswith(OWN)
    }
    assert foreign == set()


def test_it_parses_as_python_3_9() -> None:
    for path in AGENT + SHARED:
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 9))


def test_annotations_are_never_evaluated() -> None:
    # Where they were, X | Y would fail on 3.9.
    evaluated = [
        path.name
        for path in AGENT + SHARED
        if (source := path.read_text(encoding="utf-8"))
        and " import " in source
        and "from __future__ import annotations" not in source
    ]
    assert evaluated == []
