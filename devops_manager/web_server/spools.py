"""Buffers for bodies and answers: small ones in memory, large ones on disk, all within one budget.

What a client sends or does not fetch is kept here, so the process must not grow with it: beyond
MEMORY_BYTES a buffer is a temporary file, and all such files together have a limit.
"""

from __future__ import annotations

import contextlib
import tempfile
import threading
from typing import IO

MEMORY_BYTES = 16 * 1024


class NoRoom(OSError):
    """The budget is spent, or the disk is full."""


class Budget:
    """The bytes that all buffers above MEMORY_BYTES may hold together; used from all threads."""

    def __init__(self, size: int) -> None:
        """Begin with ``size`` bytes to give."""
        self._left = size
        self._lock = threading.Lock()

    def take(self, size: int) -> None:
        """Reserve ``size`` bytes. Raises NoRoom."""
        with self._lock:
            if size > self._left:
                raise NoRoom("the buffers are full")
            self._left -= size

    def give_back(self, size: int) -> None:
        """Free what ``take`` reserved."""
        with self._lock:
            self._left += size

    @property
    def left(self) -> int:
        """How many bytes can still be taken."""
        return self._left


class Spool:
    """One buffer: written at its end, read from its beginning."""

    def __init__(self, budget: Budget) -> None:
        """Hold nothing yet."""
        self._budget = budget
        self._file: IO[bytes] | None = None
        self._taken = 0
        self.size = 0
        self.read_bytes = 0

    @property
    def left(self) -> int:
        """How much was written and not yet dropped."""
        return self.size - self.read_bytes

    def write(self, data: bytes | memoryview) -> None:
        """Append. Raises NoRoom."""
        size = self.size + len(data)
        if size > MEMORY_BYTES:
            self._budget.take(size - self._taken)
            self._taken = size
        if self._file is None:
            # Given back by close(), which its owner calls.
            self._file = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115
        try:
            self._file.seek(self.size)
            self._file.write(data)
        except OSError as error:
            raise NoRoom(str(error)) from error
        self.size = size

    def peek(self, size: int) -> bytes:
        """Return up to ``size`` of the bytes that are left."""
        if self._file is None:
            return b""
        self._file.seek(self.read_bytes)
        return self._file.read(size)

    def drop(self, size: int) -> None:
        """Forget the first ``size`` of the bytes that are left; when none is, free everything."""
        self.read_bytes += size
        if not self.left:
            self.close()

    def as_input(self) -> IO[bytes]:
        """Return the buffer as a file that is read from its beginning."""
        if self._file is None:
            self._file = tempfile.SpooledTemporaryFile(max_size=MEMORY_BYTES)  # noqa: SIM115
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Free everything; the buffer is empty again."""
        if self._file is not None:
            with contextlib.suppress(OSError):  # a full disk may refuse what is still unwritten
                self._file.close()
            self._file = None
        self._budget.give_back(self._taken)
        self._taken = self.size = self.read_bytes = 0
