"""Can the tests fail? Each safeguard of ``edits.py`` is taken out in a copy, and its test run.

``make mutants``. The test must pass on an unchanged copy, and fail by an assertion of its own on
the changed one; everything else (an edit that does not apply, a test that is not found or cannot be
set up, a timeout) is an error. Exit status 1 when a mutant survives or there is an error.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.edits import MUTANTS, Mutant, StaleEditError
from tests.mutants.outcomes import FILE_VARIABLE

PROJECT = Path(__file__).resolve().parents[2]
PYTEST_SECONDS = 300.0


class CannotTellError(Exception):
    """The run says nothing about the mutant."""


@dataclass(frozen=True)
class Outcome:
    """How a test ended: ``passed``, ``failed`` (by an assertion) or ``skipped``."""

    word: str
    why: str = ""


def main() -> int:
    """Try all mutants, print the table, return the exit status."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="dm-mutants-") as name:
        original = Path(name) / "original"
        copy_tracked_files(original)
        tests = sorted({mutant.test for mutant in MUTANTS})
        unpatched = run_tests(original, tests, "--reuse-db", "--create-db")
        say(f"{'mutant':56} {'unpatched':10} {'patched':10} verdict")
        good = [try_mutant(mutant, original, unpatched.get(mutant.test)) for mutant in MUTANTS]
    say(f"{good.count(True)} of {len(MUTANTS)} as they should be, {time.monotonic() - began:.0f} s")
    return 0 if all(good) else 1


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def copy_tracked_files(target: Path) -> None:
    """Copy what git tracks, as it stands in the working tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        source = PROJECT / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)


def try_mutant(mutant: Mutant, original: Path, before: Outcome | None) -> bool:
    """Run a mutant's test against it and print its row. True if the mutant is caught."""
    after: Outcome | None = None
    try:
        if before is None or before.word == "failed":
            raise CannotTellError(f"its test must pass without it: {before and before.why}")
        if before.word == "skipped":
            # The same safeguard has a test that runs everywhere; this one needs more.
            verdict, caught = f"not run here: {before.why}", True
        else:
            after = run_mutant(mutant, original)
            caught = after.word == "failed"
            verdict = "caught" if caught else "SURVIVES"
    except (StaleEditError, CannotTellError) as error:
        verdict, caught = f"ERROR: {error}", False
    words = [outcome.word if outcome is not None else "-" for outcome in (before, after)]
    say(f"{mutant.name:56} {words[0]:10} {words[1]:10} {verdict}")
    say(f"    {mutant.test}")
    if after is not None and after.why:
        say(f"    {after.why.splitlines()[0][:110]}")
    return caught


def run_mutant(mutant: Mutant, original: Path) -> Outcome:
    """Make the mutant and run its test. Raises StaleEditError, CannotTellError."""
    with tempfile.TemporaryDirectory(prefix="mutant-", dir=original.parent) as name:
        directory = Path(name) / "copy"
        shutil.copytree(original, directory, ignore=shutil.ignore_patterns("var", "__pycache__"))
        for edit in mutant.edits:
            edit.apply(directory)
        found = run_tests(directory, [mutant.test], "--reuse-db")
    if mutant.test not in found:
        raise CannotTellError("its test did not run")
    return found[mutant.test]


def run_tests(directory: Path, tests: list[str], *options: str) -> dict[str, Outcome]:
    """Run tests of a copy; what became of each. Raises CannotTellError."""
    outcomes = directory.parent / f"{directory.name}.outcomes"
    environment = {
        **os.environ,
        FILE_VARIABLE: str(outcomes),
        "DM_VAR": str(directory / "var"),
        "PYTHONPATH": str(directory),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    plugin = ["-p", "tests.mutants.outcomes", "-p", "no:cacheprovider"]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", *plugin, *options, *tests],
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PYTEST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise CannotTellError(f"no end within {PYTEST_SECONDS:g} s") from None
    if not outcomes.exists():
        raise CannotTellError(f"pytest did not start:\n{done.stdout}{done.stderr}")
    return read_outcomes(outcomes, directory)


def read_outcomes(path: Path, directory: Path) -> dict[str, Outcome]:
    """Read what the plugin wrote. Raises CannotTellError for another end than by an assertion."""
    found: dict[str, Outcome] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        told = json.loads(line)
        if "code" in told:
            if Path(told["code"]) != directory.resolve():
                raise CannotTellError(f"the tests ran against {told['code']}")
            continue
        test = told["test"]
        if told["outcome"] == "skipped":
            found[test] = Outcome("skipped", told["text"])
        elif told["outcome"] == "passed":
            found.setdefault(test, Outcome("passed"))
        elif told["error"] == "AssertionError" and told["when"] == "call":
            found[test] = Outcome("failed", told["text"])
        elif found.get(test, Outcome("")).word != "failed":
            # A clean-up that stumbles over what has failed is no news.
            raise CannotTellError(f"{test}: {told['when']}: {told['error']}: {told['text']}")
    return found


if __name__ == "__main__":
    sys.exit(main())
