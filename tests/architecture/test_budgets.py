"""The budgets of our style: sizes, docstrings, imports, names, broad excepts, signals.

Complexity is ruff's (C901), types are mypy's, directions are import-linter's; this holds the rest.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("devops_manager", "hosts_app", "tasks_app", "agents_app")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "manager", "managers", "base", "common"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Rule = Callable[[Path, ast.Module], list[str]]


def is_generated(path: Path) -> bool:
    return "migrations" in path.parts


def production_files() -> list[Path]:
    paths = [PROJECT / "manage.py"]
    for package in PACKAGES:
        paths += sorted((PROJECT / package).rglob("*.py"))
    return [path.relative_to(PROJECT) for path in paths]


def files_of_tests() -> list[Path]:
    return [
        path.relative_to(PROJECT)
        for folder in ("tests", "loadtests")
        for path in sorted((PROJECT / folder).rglob("*.py"))
    ]


@cache
def source(path: Path) -> str:
    return (PROJECT / path).read_text(encoding="utf-8")


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(source(path), filename=str(path))


def functions(tree: ast.Module) -> Iterator[Function]:
    for node in ast.walk(tree):
        if isinstance(node, Function):
            yield node


def long_files(path: Path, _tree: ast.Module) -> list[str]:
    lines = len(source(path).splitlines())
    return [f"{lines} lines"] if lines > MAX_FILE_LINES else []


def long_functions(_path: Path, tree: ast.Module) -> list[str]:
    return [
        f"{node.name} (line {node.lineno}): {length} lines"
        for node in functions(tree)
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > MAX_FUNCTION_LINES
    ]


def imports_inside_functions(_path: Path, tree: ast.Module) -> list[str]:
    return [
        f"{function.name}, line {node.lineno}"
        for function in functions(tree)
        if function.name != "ready"  # AppConfig.ready is the one place where Django asks for it
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]


def modules_without_docstring(_path: Path, tree: ast.Module) -> list[str]:
    # An empty __init__.py has nothing to say.
    return ["no module docstring"] if tree.body and not ast.get_docstring(tree) else []


def names_that_say_nothing(path: Path, _tree: ast.Module) -> list[str]:
    if path.parts[-2:] == ("postgresql", "base.py"):  # Django looks for a backend by this name
        return []
    return sorted(FORBIDDEN_NAMES & {path.stem, *path.parent.parts})


def public_without_docstring(path: Path, tree: ast.Module) -> list[str]:
    if not {"services", "selectors", "queue", "agent"} & {path.stem, *path.parent.parts}:
        return []
    return [
        node.name
        for node in tree.body
        if isinstance(node, Function | ast.ClassDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]


def services_with_positional_arguments(path: Path, tree: ast.Module) -> list[str]:
    if "services" not in {path.stem, *path.parent.parts}:
        return []
    return [
        node.name
        for node in tree.body
        if isinstance(node, Function)
        and not node.name.startswith("_")
        # a single argument cannot be mistaken for another
        and len(node.args.args) + len(node.args.posonlyargs) > 1
    ]


def unexplained_broad_excepts(path: Path, tree: ast.Module) -> list[str]:
    lines = source(path).splitlines()
    return [
        f"line {node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
        and not (isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None)
        and not any("#" in line for line in lines[node.lineno - 1 : node.end_lineno])
    ]


def save_overrides(_path: Path, tree: ast.Module) -> list[str]:
    return [
        f"{node.name}.{member.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any("Model" in ast.unparse(base) for base in node.bases)
        and not any("Admin" in ast.unparse(base) for base in node.bases)
        for member in node.body
        if isinstance(member, Function) and member.name in {"save", "delete"}
    ]


def signals(_path: Path, tree: ast.Module) -> list[str]:
    return [
        f"line {node.lineno}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and (node.module or "").startswith(("django.dispatch", "django.db.models.signals"))
    ]


EVERYWHERE: tuple[Rule, ...] = (long_files, long_functions, imports_inside_functions)
IN_PRODUCTION: tuple[Rule, ...] = (
    modules_without_docstring,
    names_that_say_nothing,
    public_without_docstring,
    services_with_positional_arguments,
    unexplained_broad_excepts,
    save_overrides,
    signals,
)


def violations(rule: Rule, paths: list[Path]) -> list[str]:
    return [
        f"{path}: {violation}"
        for path in paths
        if not is_generated(path)
        for violation in rule(path, parse(path))
    ]


@pytest.mark.parametrize("rule", EVERYWHERE, ids=lambda rule: rule.__name__)
def test_rules_for_all_code(rule: Rule) -> None:
    assert violations(rule, production_files() + files_of_tests()) == []


@pytest.mark.parametrize("rule", IN_PRODUCTION, ids=lambda rule: rule.__name__)
def test_rules_for_production_code(rule: Rule) -> None:
    assert violations(rule, production_files()) == []


def test_every_statement_of_sql_opens_with_its_purpose() -> None:
    files = [path for package in PACKAGES for path in (PROJECT / package).rglob("*.sql")]
    assert files, "there is SQL in this project"
    silent = [str(path) for path in files if not path.read_text(encoding="utf-8").startswith("--")]
    assert silent == []
