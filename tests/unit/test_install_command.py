"""The line that people paste into a host's shell, run by real shells."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from devops_manager.pages.views.enrolment import install_command
from tests.agent.on_the_way import Foreign, answer, listening

SECRET = "dme_secret"
NOBODY = 65534
TOOLS = ("curl", "mktemp", "rm", "id", "cat", "sh")
INSTALL = """
echo "args: $*"
echo "as: $(id -u)"
echo "token: $(cat "$2")"
"""
SHELLS = [shell for shell in ("dash", "bash", "zsh") if shutil.which(shell)]


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """All that the host has: no sudo."""
    path = tmp_path / "bin"
    path.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (path / tool).symlink_to(found)
    (tmp_path / "tmp").mkdir(mode=0o777)
    (tmp_path / "tmp").chmod(0o1777)
    for directory in [tmp_path, *tmp_path.parents]:
        if directory.stat().st_uid == os.getuid() and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o111)
    return path


@pytest.fixture
def paste(tmp_path: Path, tools: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    def run(
        shell: str, url: str, *, uid: int = 0, then: str = ""
    ) -> subprocess.CompletedProcess[str]:
        found = shutil.which(shell)
        assert found is not None
        return subprocess.run(
            [found, "-c", install_command(url, SECRET) + then],
            env={"PATH": str(tools), "TMPDIR": str(tmp_path / "tmp")},
            cwd="/",
            user=uid or None,
            capture_output=True,
            text=True,
            check=False,
        )

    yield run
    assert list((tmp_path / "tmp").iterdir()) == [], "nothing is left behind"


@pytest.fixture
def server() -> Iterator[str]:
    with listening(Foreign(answer("200 OK", INSTALL))) as port:
        yield f"http://127.0.0.1:{port}/agent/install.sh"


def test_there_is_a_shell_besides_dash() -> None:
    assert {"dash", "bash"} <= set(SHELLS)


@pytest.mark.parametrize("shell", SHELLS)
def test_installs_as_root_where_there_is_no_sudo(
    paste: Callable[..., subprocess.CompletedProcess[str]], server: str, shell: str
) -> None:
    done = paste(shell, server)
    assert done.returncode == 0, done.stderr
    assert "as: 0" in done.stdout
    assert f"token: {SECRET}" in done.stdout
    args = done.stdout.splitlines()[0]
    assert args.startswith("args: --token-file ")
    assert SECRET not in args


@pytest.mark.parametrize("shell", SHELLS)
def test_installs_as_a_user_who_may_sudo(
    paste: Callable[..., subprocess.CompletedProcess[str]], tools: Path, server: str, shell: str
) -> None:
    (tools / "sudo").write_text('#!/bin/sh\necho "sudo: $*" >&2\nexec "$@"\n')
    (tools / "sudo").chmod(0o755)
    done = paste(shell, server, uid=NOBODY)
    assert done.returncode == 0, done.stderr
    assert f"token: {SECRET}" in done.stdout
    assert "sudo: sh " in done.stderr
    assert SECRET not in done.stderr


@pytest.mark.parametrize("then", ["", " || exit $?", " && echo all is well"])
@pytest.mark.parametrize("shell", SHELLS)
def test_fails_where_the_download_fails(
    paste: Callable[..., subprocess.CompletedProcess[str]], shell: str, then: str
) -> None:
    with listening(Foreign(answer("404 Not Found", "echo never"))) as port:
        done = paste(shell, f"http://127.0.0.1:{port}/agent/install.sh", then=then)
    assert done.returncode != 0
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("given", "uid"),
    [
        (answer("200 OK", "exit 3"), 0),
        (answer("200 OK", "exit 3")[:-2], 0),  # cut off
        (answer("302 Found", "echo never", Location="http://127.0.0.1:9/"), 0),
        (answer("200 OK", INSTALL), NOBODY),  # neither root nor sudo
    ],
)
def test_fails_where_the_installation_fails(
    paste: Callable[..., subprocess.CompletedProcess[str]], given: bytes, uid: int
) -> None:
    with listening(Foreign(given)) as port:
        done = paste("dash", f"http://127.0.0.1:{port}/agent/install.sh", uid=uid)
    assert done.returncode != 0
    assert done.stdout == ""
