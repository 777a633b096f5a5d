"""The agent's place on disk: its lock, its credential, and whether it drains."""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
from pathlib import Path

from agents_app.agent.config import ConfigError

CREDENTIAL_FILE = "credential.json"
LOCK_FILE = "agent.lock"
DRAIN_FILE = "drain"


@dataclasses.dataclass(frozen=True)
class Identity:
    """Who this agent is to the server. The credential never appears in a repr or a log."""

    host_id: str
    credential: str = dataclasses.field(repr=False)


def prepare_state_dir(path: Path) -> None:
    """Make the state directory. Others may pass through it, for script files, but not list it."""
    try:
        make_passable(path)
    except OSError as error:
        raise ConfigError(f"cannot use state_dir {path}: {error.strerror}") from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise ConfigError(f"cannot use state_dir {path}: it is not writable")


def make_passable(directory: Path) -> None:
    """Make a directory, and those above it, that others may pass through; mend one that is there.

    A mode given to mkdir is cut down by the umask, which is 077 in the agent.
    """
    if not directory.is_dir():
        if not directory.parent.is_dir():
            make_passable(directory.parent)
        directory.mkdir(mode=0o711, exist_ok=True)
    found = directory.stat()
    # Only root's agent runs anything as somebody else.
    if found.st_uid == os.geteuid() == 0 and found.st_mode & 0o011 != 0o011:
        directory.chmod(found.st_mode & 0o7777 | 0o011)


def read_identity(state_dir: Path) -> Identity | None:
    """The stored credential, or None before enrolment. Raises ConfigError if it is damaged."""
    path = state_dir / CREDENTIAL_FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        return Identity(host_id=str(stored["host_id"]), credential=str(stored["credential"]))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is damaged: delete it and enrol again") from error


def credential_stamp(state_dir: Path) -> tuple[int, int] | None:
    """What tells one credential file from its successor; None where there is none."""
    try:
        found = (state_dir / CREDENTIAL_FILE).stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino


def write_identity(state_dir: Path, identity: Identity) -> None:
    """Store the credential so that it is on disk, whole and readable by the owner only."""
    path = state_dir / CREDENTIAL_FILE
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(dataclasses.asdict(identity), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(state_dir, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


class StateLock:
    """Keeps two agents from sharing a state directory. Held until the process ends."""

    def __init__(self, state_dir: Path) -> None:
        """Take the lock. Raises ConfigError that names the other agent's process."""
        self._descriptor = os.open(state_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._descriptor, 32).decode("ascii", "replace").strip()
            os.close(self._descriptor)
            raise ConfigError(
                f"another agent (pid {holder or 'unknown'}) already uses {state_dir}"
            ) from error
        # A full disk must not keep the agent from starting: the number is for people only.
        try:
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, str(os.getpid()).encode(), 0)
        except OSError:
            pass

    def release(self) -> None:
        """Let go of the directory."""
        os.close(self._descriptor)


def lock_holder(state_dir: Path) -> int | None:
    """The pid of the agent that runs on this directory, or None."""
    try:
        descriptor = os.open(state_dir / LOCK_FILE, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        text = os.read(descriptor, 32).strip()
        return int(text) if text.isdigit() else 0
    else:
        return None
    finally:
        os.close(descriptor)


def is_draining(state_dir: Path) -> bool:
    """Whether ``devops-agent drain`` asked the agent to take no new work."""
    return (state_dir / DRAIN_FILE).exists()


def set_draining(state_dir: Path, draining: bool) -> None:
    """Ask for drain, or take it back. Survives restarts until taken back."""
    path = state_dir / DRAIN_FILE
    if draining:
        path.touch(mode=0o600)
    elif path.exists():
        path.unlink()
