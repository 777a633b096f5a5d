"""Which servers are believed: TLS with the system's authorities or those of ``ca_file``.

Every Python checks the same: from 3.13 on the standard library refuses certificates without key
identifiers (``VERIFY_X509_STRICT``), which many private authorities do not write, and takes an
intermediate certificate of the file for a root (``VERIFY_X509_PARTIAL_CHAIN``). Here the first is
off and the second on, everywhere. Chain, name and dates are always checked.
"""

from __future__ import annotations

import logging
import socket
import ssl
from pathlib import Path

from agents_app.agent.config import ConfigError

log = logging.getLogger(__name__)

# Python 3.9 has no name for it.
PARTIAL_CHAIN = ssl.VerifyFlags(getattr(ssl, "VERIFY_X509_PARTIAL_CHAIN", 0x80000))

Stamp = tuple[int, int, int]


class Trust:
    """The TLS settings of one channel. A ``ca_file`` that was replaced is read at the next use."""

    def __init__(self, ca_file: str) -> None:
        """Read the file now; ``ca_file`` may be empty. Raises ConfigError if it is no good."""
        self._ca_file = ca_file
        self._stamp = self._look()
        try:
            self._context = _context(ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"ca_file {ca_file} holds no certificate") from error

    def wrap(self, sock: socket.socket, name: str) -> ssl.SSLSocket:
        """Speak TLS over a connection with the server of that name. Raises OSError."""
        self._read_again()
        try:
            return self._context.wrap_socket(sock, server_hostname=name)
        except ssl.SSLCertVerificationError:
            # The system's authorities may have been updated since; a file tells by itself.
            if not self._ca_file:
                self._context = _context("")
            raise

    def _read_again(self) -> None:
        stamp = self._look()
        if stamp is None or stamp == self._stamp:
            return  # a file that is away for a moment is being replaced
        self._stamp = stamp
        try:
            self._context = _context(self._ca_file)
        except (OSError, ssl.SSLError):
            log.error("ca_file %s holds no certificate; the one before it holds", self._ca_file)
        else:
            log.info("ca_file %s was replaced and read again", self._ca_file)

    def _look(self) -> Stamp | None:
        if not self._ca_file:
            return None
        try:
            found = Path(self._ca_file).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino


def _context(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_flags = (context.verify_flags & ~ssl.VERIFY_X509_STRICT) | PARTIAL_CHAIN
    return context
