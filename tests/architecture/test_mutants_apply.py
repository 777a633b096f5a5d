"""The mutants of ``make mutants`` fit the code as it is, and their tests exist."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.mutants.edits import MUTANTS, Mutant

PROJECT = Path(__file__).resolve().parent.parent.parent


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_its_edits_apply_and_its_test_exists(mutant: Mutant, tmp_path: Path) -> None:
    for edit in mutant.edits:
        (tmp_path / edit.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROJECT / edit.path, tmp_path / edit.path)
        edit.apply(tmp_path)
        assert (tmp_path / edit.path).read_text() != (PROJECT / edit.path).read_text()
    file, _, name = mutant.test.partition("::")
    assert f"def {name}(" in (PROJECT / file).read_text()
