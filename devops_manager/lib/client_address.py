"""The client's address behind proxies: ``X-Forwarded-For`` and ``Forwarded`` (RFC 7239).

Everybody can send these headers. So they are read from right to left, as the proxies appended to
them, and each entry is believed only where a trusted proxy wrote it: the first address that is not
a trusted proxy's is the client. Nobody is trusted by default, not even the loopback address.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TYPE_CHECKING

from devops_manager.lib.forwarded import Hop, parse_forwarded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# In place of a network: a proxy that connects over a Unix socket, which has no address.
UNIX = "unix"
# A chain of more proxies is nobody's; the work for a request stays bounded.
_MAX_HOPS = 64
_SCHEMES = frozenset({"http", "https"})


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies that are believed: networks, and whether those on Unix sockets are."""

    networks: tuple[Network, ...] = ()
    unix: bool = False

    @classmethod
    def parse(cls, words: Iterable[str]) -> Proxies:
        """Read addresses, networks in CIDR notation and ``unix``. Raises ValueError for others."""
        networks: list[Network] = []
        unix = False
        for word in words:
            if word.lower() == UNIX:
                unix = True
            else:
                networks.append(ip_network(word.strip("[]")))
        return cls(tuple(networks), unix)

    def trust(self, address: Address | None) -> bool:
        """Tell whether a peer is one of them; ``None`` is a peer without an address."""
        if address is None:
            return self.unix
        return any(address in network for network in self.networks)


@dataclass(frozen=True, slots=True)
class Client:
    """Where a request comes from. ``scheme`` is empty unless a trusted proxy said one."""

    address: str | None
    scheme: str = ""


NOBODY = Proxies()


def client_of(
    peer: str | None,
    *,
    trusted: Proxies,
    forwarded_for: Sequence[str] = (),
    forwarded: Sequence[str] = (),
    forwarded_proto: Sequence[str] = (),
) -> Client:
    """Return the client of a request that came from ``peer``; headers line by line, as they came.

    A peer that is no trusted proxy is the client, whatever it sends. An entry that names no address
    ends the walk at the proxy that wrote it. Where both headers are there and name different
    clients, one of them was passed on unseen from the client itself: then the proxy's own address
    is returned, which nobody can choose.
    """
    nearest = parse_address(peer)
    if not trusted.trust(nearest):
        return Client(_text(nearest))
    named: set[Address | None] = set()
    scheme = _last_word(forwarded_proto)
    if forwarded_for:
        hops = [Hop(text) for text in ",".join(forwarded_for).split(",")]
        named.add(_walk(nearest, hops, trusted)[0])
    if forwarded:
        address, said = _walk(nearest, parse_forwarded(", ".join(forwarded)), trusted)
        named.add(address)
        scheme = scheme or said
    client = named.pop() if len(named) == 1 else nearest
    return Client(_text(client), scheme if scheme in _SCHEMES else "")


def parse_address(text: str | None) -> Address | None:
    """Return the address in ``text``, without port, brackets and zone; None where there is none.

    IPv4 inside IPv6 (``::ffff:192.0.2.1``) is IPv4: a socket for both shows all peers in that way.
    """
    bare = (text or "").strip()
    if bare.startswith("["):
        bare, bracket, port = bare[1:].partition("]")
        if not bracket or (port and not _is_port(port)):
            return None
    elif bare.count(":") == 1:
        bare, _colon, port = bare.partition(":")
        if not _is_port(f":{port}"):
            return None
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def neighborhood(address: str | None) -> str | None:
    """Return what one client may choose its addresses from: an IPv6 /64, an IPv4 address alone."""
    parsed = parse_address(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((parsed, 64), strict=False).network_address)
    return _text(parsed)


def _walk(
    nearest: Address | None, hops: Sequence[Hop], trusted: Proxies
) -> tuple[Address | None, str]:
    """Return the first address from the right that is no proxy's, and the scheme beside it."""
    address, scheme = nearest, ""
    for hop in reversed(hops[-_MAX_HOPS:]):
        if not trusted.trust(address):
            break
        found = parse_address(hop.address)
        if found is None:
            break
        address, scheme = found, hop.scheme
    return address, scheme


def _last_word(lines: Sequence[str]) -> str:
    """Return the last entry: the nearest proxy's own."""
    return lines[-1].rpartition(",")[2].strip().lower() if lines else ""


def _is_port(text: str) -> bool:
    digits = text[1:]
    return text.startswith(":") and digits.isascii() and digits.isdigit() and len(digits) < 6


def _text(address: Address | None) -> str | None:
    return None if address is None else str(address)
