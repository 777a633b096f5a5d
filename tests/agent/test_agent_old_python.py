"""An old Python is told in one sentence which it should be, by the agent and by install.sh."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from agents_app.agent_build import build_agent, install_script
from tests.agent.pythons import too_old

SENTENCE = r"devops-agent: Python 3\.9 or later with sqlite3 and ssl is needed; .+ is Python {}\n"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "devops-agent.pyz"
    build_agent(path)
    return path


def test_every_old_python_that_is_here_says_what_is_needed(program: Path) -> None:
    """Those of Debian and of pyenv; where there is none, the next test has to do."""
    for python in too_old():
        for arguments in (["run"], ["version"], []):
            ended = subprocess.run(
                [python, program, *arguments], capture_output=True, text=True, check=False
            )
            assert ended.returncode == 78, python
            assert re.fullmatch(SENTENCE.format(r"\d\.\d"), ended.stderr), ended.stderr
            assert ended.stdout == ""


# What no Python before 3.9 can be relied on to parse, or to do.
NEW_SYNTAX = (
    ast.JoinedStr,
    ast.AnnAssign,
    ast.NamedExpr,
    ast.Await,
    ast.AsyncFunctionDef,
    ast.Nonlocal,
    ast.Starred,
    ast.MatMult,
)


def test_its_first_file_is_one_that_any_python_reads(program: Path) -> None:
    """Checked by rules: this holds where no old Python is installed, too."""
    source = zipfile.ZipFile(program).read("__main__.py")
    source.decode("ascii")
    tree = ast.parse(source, feature_version=(3, 4))
    assert not [node for node in ast.walk(tree) if isinstance(node, NEW_SYNTAX)]
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"]
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert functions == []
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    check = next(node for node in tree.body if isinstance(node, ast.If))
    assert "version_info" in ast.dump(check.test)
    assert all(one.lineno > check.lineno for one in imports), "the check comes first"


@pytest.mark.parametrize("version", [(2, 6), (2, 7), (3, 6), (3, 8)])
def test_the_first_file_by_this_python_as_if_it_were_old(
    program: Path, version: tuple[int, int]
) -> None:
    """The sentence and the status, whatever is installed."""
    old = (*version, 0)
    pretend = (
        f"import sys, runpy; sys.version_info = {old};"
        f" runpy.run_path({str(program)!r}, run_name='__main__')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", pretend], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 78
    assert re.fullmatch(SENTENCE.format(r"\.".join(map(str, version))), ended.stderr)


@pytest.mark.parametrize("missing", ["sqlite3", "ssl"])
def test_a_python_without_what_is_needed_says_so(program: Path, missing: str) -> None:
    pretend = (
        f"import sys, runpy; sys.modules[{missing!r}] = None;"
        f" runpy.run_path({str(program)!r}, run_name='__main__')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", pretend], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 78
    assert re.fullmatch(SENTENCE.format(r"\d\.\d+ without them"), ended.stderr)


RHEL8 = 'ID="rocky"\nID_LIKE="rhel centos fedora"\nVERSION_ID="8.9"\nPLATFORM_ID="platform:el8"\n'
SYSTEMS = [
    (RHEL8, "dnf install python39 (or python3.11)"),
    ('ID="rhel"\nID_LIKE="fedora"\nVERSION_ID="8.10"\nPLATFORM_ID="platform:el8"\n', "python39"),
    ('ID="centos"\nID_LIKE="rhel fedora"\nVERSION_ID="8"\n', "dnf install python39"),
    ('ID="ol"\nID_LIKE="fedora"\nVERSION_ID="8.9"\nPLATFORM_ID="platform:el8"\n', "python39"),
    ('ID="anolis"\nID_LIKE="rhel fedora centos"\nVERSION_ID="8.8"\n', "dnf install python39"),
    ('ID="almalinux"\nID_LIKE="rhel centos fedora"\nVERSION_ID="9.3"\n', "dnf install python3\n"),
    ('ID="centos"\nID_LIKE="rhel fedora"\nVERSION_ID="7"\n', "no package of this release"),
    ("ID=fedora\nVERSION_ID=40\n", "dnf install python3\n"),
    ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="20.04"\n', "apt-get install python3.9\n"),
    ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="18.04"\n', "no package of this release"),
    ('ID=ubuntu\nID_LIKE=debian\nVERSION_ID="22.04"\n', "apt-get install python3\n"),
    ('ID=debian\nVERSION_ID="12"\n', "apt-get install python3\n"),
    ('ID=debian\nVERSION_ID="10"\n', "no package of this release"),
    ('ID="openEuler"\nVERSION_ID="22.03"\n', "dnf install python3\n"),
    ('ID="openEuler"\nVERSION_ID="20.03"\n', "3.9 from openEuler 22.03 on"),
    ('ID="kylin"\nVERSION_ID="V10"\n', "3.11 on V11"),
    ('ID="kylin"\nVERSION_ID="V11"\n', "dnf install python3\n"),
    ('ID=kylin\nID_LIKE=debian\nVERSION_ID="v10"\n', "apt-get install python3.9\n"),
    ("ID=alpine\nVERSION_ID=3.19.1\n", "apk add python3\n"),
    ('ID="sles"\nID_LIKE="suse"\nVERSION_ID="15.5"\n', "zypper install python311\n"),
    ('ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"\n', "zypper install python3\n"),
    ("ID=something\n", "install the package python3"),
    ("exit 5\n", "install the package python3"),
]


@pytest.mark.parametrize(
    ("release", "says"), SYSTEMS, ids=[one[0].split("\n")[0] for one in SYSTEMS]
)
def test_install_names_the_package_of_this_system(tmp_path: Path, release: str, says: str) -> None:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/os-release").write_text(release)
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("sh", "uname", "id", "mktemp", "rm"):
        (tools / tool).symlink_to(Path("/bin") / tool)
    # An old Python, as far as the script can tell.
    (tools / "python3").write_text("#!/bin/sh\nexit 1\n")
    (tools / "python3").chmod(0o755)
    script = tmp_path / "install.sh"
    script.write_text(install_script(server_url="https://ops", download_url="https://ops/agent"))
    ended = subprocess.run(
        ["/bin/sh", script],
        env={"PATH": str(tools), "DM_INSTALL_ROOT": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert says in ended.stderr
    assert ended.stderr.startswith("install.sh: Python 3.9 or later with sqlite3 and ssl is needed")
    assert ended.stderr.count("\n") == 1
