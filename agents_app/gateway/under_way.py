"""Requests under way, in a file that outlives the process: what a gateway died of is in it.

Each worker has one file, mapped into its memory and locked while the worker lives. Taking a request
in writes 32 bytes there and no system call; the kernel keeps them when the process is killed. A
file that nobody locks belongs to a worker that is gone: what stands in it was under way.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import mmap
import os
import struct
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings

from agents_app.services.suspects import Mark

if TYPE_CHECKING:
    from collections.abc import Iterable

logger = logging.getLogger(__name__)

_SLOTS = 16_384
_RECORD = struct.Struct("<B7xQ16s")  # kind (0: a free slot), the host's primary key, key
_NO_SLOT = -1
_SUFFIX = ".under-way"


class UnderWay:
    """The requests that this process has under way. Safe to use from several threads."""

    def __init__(self) -> None:
        """Open a file; without a place for one nothing is marked, and that is logged."""
        self._free: list[int] = []
        self._map: mmap.mmap | None = None
        try:
            directory = _directory()
            self._path = directory / f"{os.getpid()}-{uuid.uuid4().hex}{_SUFFIX}"
            new = self._path.with_suffix(".new")
            self._file = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            new.rename(self._path)  # only now: a file that nobody locks is taken for remains
            os.ftruncate(self._file, _SLOTS * _RECORD.size)
            self._map = mmap.mmap(self._file, _SLOTS * _RECORD.size)
        except OSError as error:
            logger.warning("requests under way are not marked (DM_GATEWAY_STATE_DIR): %s", error)
            return
        self._free = list(range(_SLOTS - 1, -1, -1))

    def begin(self, mark: Mark) -> int:
        """Note that a request is under way; return what ``end`` takes."""
        if not self._free or self._map is None:
            return _NO_SLOT
        slot = self._free.pop()
        _RECORD.pack_into(self._map, slot * _RECORD.size, *mark)
        return slot

    def end(self, slot: int) -> None:
        """Note that a request is over, whatever came of it."""
        if slot == _NO_SLOT or self._map is None:
            return
        self._map[slot * _RECORD.size] = 0
        self._free.append(slot)

    def end_all(self, slots: Iterable[int]) -> None:
        """Note that several requests are over."""
        for slot in slots:
            self.end(slot)

    def close(self) -> None:
        """Remove the file: this process ends of itself."""
        if self._map is not None:
            self._path.unlink(missing_ok=True)
            self._free = []
            self._map.close()
            self._map = None
            os.close(self._file)


class Remains:
    """The file of a worker that is gone, and what it had under way; held until ``discard``."""

    def __init__(self, path: Path, file: int) -> None:
        """Take over an open and locked file."""
        self._path = path
        self._file = file
        data = os.read(file, _SLOTS * _RECORD.size)
        whole = data[: len(data) - len(data) % _RECORD.size]
        self.marks = [Mark(*record) for record in _RECORD.iter_unpack(whole) if record[0]]

    def discard(self) -> None:
        """Remove the file: what stood in it is written down elsewhere."""
        self._path.unlink(missing_ok=True)
        os.close(self._file)


def find_remains() -> list[Remains]:
    """Return the files of workers that are gone, locked: two that start at once share them out."""
    found = []
    try:
        paths = sorted(_directory().glob(f"*{_SUFFIX}"))
    except OSError:
        return []
    for path in paths:
        try:
            file = os.open(path, os.O_RDWR)
        except OSError:
            continue  # its finder removed it
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(file)  # its worker lives
            continue
        found.append(Remains(path, file))
    return found


def _directory() -> Path:
    """Return where files of this database's gateways lie; another database has other hosts."""
    own = settings.DATABASES["default"]
    database = "\0".join(str(own.get(key, "")) for key in ("HOST", "PORT", "NAME"))
    name = hashlib.sha256(database.encode()).hexdigest()[:16]
    directory = Path(settings.DM_GATEWAY_STATE_DIR) / name
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory
