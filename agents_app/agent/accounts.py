"""Whom a command runs as, and the environment that this account's commands begin with."""

from __future__ import annotations

import dataclasses
import os
import pwd
import stat
from pathlib import Path

from agents_app.agent.messages import Command
from agents_app.agent.start_error import StartError
from agents_app.agent.tree import FENCE_VARIABLE

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
RUNTIME_DIRECTORIES = Path("/run/user")


@dataclasses.dataclass(frozen=True)
class Account:
    """Whom a command runs as. ``switch`` is false for the agent's own user."""

    name: str
    uid: int
    gid: int
    home: str
    shell: str
    switch: bool

    def groups(self) -> list[int]:
        """All groups of the account, as a login would set them."""
        return os.getgrouplist(self.name, self.gid)

    def may_pass(self, directory: os.stat_result) -> bool:
        """Whether the mode of a directory lets the account through; access lists may differ."""
        if directory.st_mode & 0o111 == 0o111:
            return True
        if directory.st_uid == self.uid:
            return bool(directory.st_mode & stat.S_IXUSR)
        if directory.st_gid in (self.gid, *self.groups()):
            return bool(directory.st_mode & stat.S_IXGRP)
        return bool(directory.st_mode & stat.S_IXOTH)


def resolve_account(run_as: str) -> Account:
    """The account of ``run_as``, or the agent's own if empty. Raises StartError.

    A name in whatever form this host's name service knows (``user@domain``, ``DOM\\user``), else a
    uid; a name made of digits comes before the uid, as with chown.
    """
    own = os.geteuid()
    try:
        entry = _entry(run_as) if run_as else pwd.getpwuid(own)
    except (KeyError, ValueError, OverflowError, OSError) as error:
        if run_as:
            raise StartError("run_as_failed", f"There is no user {run_as} here.") from error
        return Account(str(own), own, os.getegid(), "/", "/bin/sh", switch=False)
    switch = entry.pw_uid != own
    if switch and own != 0:
        raise StartError(
            "run_as_failed", f"The agent does not run as root, so it cannot run as {run_as}."
        )
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir, entry.pw_shell, switch)


def _entry(run_as: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(run_as)
    except KeyError:
        if run_as.isascii() and run_as.isdigit():
            return pwd.getpwuid(int(run_as))
        raise


def build_environment(command: Command, account: Account, hostname: str) -> dict[str, str]:
    """A clean environment with the command's own on top; nothing of the agent's gets in."""
    environment = {
        "PATH": SEARCH_PATH,
        "HOME": account.home,
        "USER": account.name,
        "LOGNAME": account.name,
        "SHELL": account.shell or "/bin/sh",
        "LANG": "C.UTF-8",
        # Output goes to a pipe: programs must neither draw on it nor hold lines back, which a
        # timeout would lose.
        "TERM": "dumb",
        "PYTHONUNBUFFERED": "1",
    }
    runtime = RUNTIME_DIRECTORIES / str(account.uid)
    if runtime.is_dir():
        environment["XDG_RUNTIME_DIR"] = str(runtime)
    environment.update(command.environment)
    environment.update(
        {
            FENCE_VARIABLE: command.fence,
            "DM_TASK_ID": command.task_id,
            "DM_COMMAND_ID": command.command_id,
            "DM_ATTEMPT": str(command.attempt),
            "DM_HOSTNAME": hostname,
        }
    )
    return environment
