"""TCP ports on the loopback address, reserved for whoever asked for them first.

A port stays bound by a socket of this process, which never listens, until the process ends. The
kernel then gives the port to nobody who asks for any free one, in whatever process, and takes it
for no outgoing connection. A server that was told the port can listen on it all the same: like all
servers here it sets ``SO_REUSEADDR``, which only another listener stands against.
"""

from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"

# The file descriptors, by port. Never closed: what a stopped server listened on is still meant for
# its next start.
_reserved: dict[int, int] = {}


def free_port() -> int:
    """Return a port that nobody else has or gets while this process lives."""
    holder = _bound(LOOPBACK, 0)
    port: int = holder.getsockname()[1]
    _reserved[port] = holder.detach()
    return port


def reserve(port: int, address: str = LOOPBACK) -> bool:
    """Reserve this port; return False when somebody listens there or this process gave it away."""
    if port in _reserved or not is_free(port, address):
        return False
    try:
        _reserved[port] = _bound(LOOPBACK, port).detach()
    except OSError:
        return False
    return True


def is_free(port: int, address: str = LOOPBACK) -> bool:
    """Tell whether a server could listen on ``address:port`` now."""
    try:
        with _bound(address, port) as probe:
            probe.listen(1)  # two may be bound, as long as no other listens
    except OSError:
        return False
    return True


def _bound(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family)
    try:
        # As servers do: a connection of an earlier run that still lingers is no obstacle.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address.strip("[]"), port))
    except OSError:
        bound.close()
        raise
    return bound
