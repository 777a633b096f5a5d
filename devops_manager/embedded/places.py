"""Where the servers' files live, and whose they are.

An ordinary user's servers keep their files in ``var/embedded`` of the clone. PostgreSQL refuses to
run as root, and ``nobody`` may be unable to reach the clone, so root's live in a directory of their
own outside; ``var/embedded.place`` records it, and ``make clean`` removes what is recorded there.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from devops_manager.embedded.errors import EmbeddedError
from devops_manager.embedded.language import gettext as _
from devops_manager.embedded.process import Account

PROJECT = Path(__file__).resolve().parent.parent.parent
# Everything that a run or the tests leave behind is in here, or recorded here.
VAR = Path(os.environ.get("DM_VAR") or PROJECT / "var").absolute()

_RECORD = "embedded.place"
_MARK = ".devops-manager-embedded"
_PREFIX = "devops-manager-"
_OUTSIDE = (Path("/var/lib"), Path("/var/tmp"), Path("/tmp"))  # noqa: S108 - made by mkdtemp
_NOBODY = 65534


def servers_account() -> Account:
    """Return whom the servers run as: ``nobody`` for root, else the current user."""
    if os.geteuid() != 0:
        return Account()
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return Account(uid=_NOBODY, gid=_NOBODY)
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)


def servers_place(var: Path) -> Path:
    """Return the directory that holds the servers' files, made and recorded if need be.

    Raises EmbeddedError on systems other than Linux, where servers could outlive their owner.
    """
    if sys.platform != "linux":
        raise EmbeddedError(
            _("The embedded servers need Linux. Set DATABASE_URL and REDIS_URL instead.")
        )
    var.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        place = var / "embedded"
        place.mkdir(mode=0o700, exist_ok=True)
        return place
    with locked(var / "embedded.place.lock"):
        return recorded_place(var) or _new_outside_place(var)


def recorded_place(var: Path) -> Path | None:
    """Return root's directory outside the clone, if there is one that this code made."""
    try:
        place = Path((var / _RECORD).read_text(encoding="utf-8").strip())
    except OSError:
        return None
    return place if place.is_absolute() and (place / _MARK).is_file() else None


def _new_outside_place(var: Path) -> Path:
    for parent in _OUTSIDE:
        if not _open_to_others(parent):
            continue
        try:
            place = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        except OSError:
            continue
        place.chmod(0o755)
        (place / _MARK).write_text(f"{var}\n", encoding="utf-8")
        (var / _RECORD).write_text(f"{place}\n", encoding="utf-8")
        return place
    raise EmbeddedError(
        _("Found no directory for the embedded servers; tried %(places)s")
        % {"places": ", ".join(map(str, _OUTSIDE))}
    )


def _open_to_others(directory: Path) -> bool:
    return all(
        path.is_dir() and path.stat().st_mode & 0o001 for path in (directory, *directory.parents)
    )


def remove_places(var: Path) -> None:
    """Remove every server file of this clone, also those outside it (``make clean``).

    Raises EmbeddedError when servers of this clone are still running.
    """
    for place in (recorded_place(var), var / "embedded"):
        if place is None or not place.is_dir():
            continue
        for home in place.iterdir():
            if (home / "lock").exists():
                with locked(home / "lock", blocking=False):
                    pass
        shutil.rmtree(place)
    (var / _RECORD).unlink(missing_ok=True)


@contextmanager
def locked(path: Path, *, blocking: bool = True) -> Iterator[None]:
    """Hold an exclusive lock on ``path``; it ends with the process however that ends.

    Raises EmbeddedError when ``blocking`` is false and another process holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if blocking else fcntl.LOCK_NB))
        except BlockingIOError:
            raise EmbeddedError(
                _("Another process uses %(place)s; stop it first") % {"place": path.parent}
            ) from None
        yield
    finally:
        os.close(descriptor)


def kept_secret(path: Path) -> str:
    """Return the secret in ``path``, made at random and readable by its owner only if missing."""
    with suppress(FileNotFoundError):
        text = path.read_text(encoding="utf-8").strip()
        if text:
            return text
    text = secrets.token_urlsafe(24)
    write_private(path, text)
    return text


def write_private(path: Path, text: str, *, account: Account | None = None) -> None:
    """Write a file that only its owner may read, in one step."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(FileNotFoundError):
        unfinished.unlink()
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{text}\n")
    if account is not None and account.uid is not None and account.gid is not None:
        os.chown(unfinished, account.uid, account.gid)
    unfinished.rename(path)


def give_to(path: Path, account: Account) -> None:
    """Make ``path`` a directory that only ``account`` may enter."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    if account.uid is not None and account.gid is not None:
        os.chown(path, account.uid, account.gid)
