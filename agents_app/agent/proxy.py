"""The HTTP proxy on the way to the gateway: which one, whether at all, and a tunnel through it.

The rules are those of curl (``curl.se/docs/manpage.html``, "Environment"), with CIDR as in Go.
No text of this module, its errors included, shows what a proxy's URL holds of user and password.
"""

from __future__ import annotations

import base64
import dataclasses
import ipaddress
import re
import socket
from collections.abc import Mapping
from urllib.parse import unquote, unquote_to_bytes, urlsplit

from agents_app.agent.address import Server, authority

# The value of the setting for: none, whatever the environment says.
NO_PROXY_AT_ALL = "none"
DEFAULT_PORT = 80
LONGEST_HEAD_BYTES = 16384

_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})(?: ([ -~]*))?\r?\n")


class ProxyError(OSError):
    """The proxy did not open a tunnel."""


@dataclasses.dataclass(frozen=True)
class Proxy:
    """A proxy; ``authorization`` is the value of Proxy-Authorization, empty if it wants none."""

    host: str
    port: int
    authorization: str = dataclasses.field(default="", repr=False)

    @property
    def name(self) -> str:
        """Host and port, for messages."""
        return authority(self.host, self.port)

    @property
    def headers(self) -> dict[str, str]:
        """The headers that are for the proxy."""
        return {"Proxy-Authorization": self.authorization} if self.authorization else {}


def parse_proxy(url: str) -> Proxy:
    """A proxy from its URL, ``http://user:password@host:port`` or ``host:port``. ValueError."""
    wanted = "must be http://host:port, if need be with user:password@ before the host"
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        port = parts.port or DEFAULT_PORT
    except ValueError:
        raise ValueError(wanted) from None
    if parts.scheme != "http":
        raise ValueError(f"{wanted}; {parts.scheme}:// is not supported")
    # What a password with a bare slash or question mark in it leaves, too, is no host.
    if not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(wanted)
    return Proxy(unquote(parts.hostname), port, _basic(parts.netloc))


def _basic(netloc: str) -> str:
    userinfo, at, _ = netloc.rpartition("@")
    if not at:
        return ""
    user, _, password = userinfo.partition(":")
    plain = unquote_to_bytes(user) + b":" + unquote_to_bytes(password)
    return "Basic " + base64.b64encode(plain).decode("ascii")


def proxy_from_environment(environ: Mapping[str, str], server: Server) -> tuple[str, str]:
    """The proxy's URL for this server, empty for none, and the variable that names it."""
    for name in (f"{server.scheme}_proxy", f"{server.scheme}_proxy".upper()):
        if name in environ:
            url = environ[name].strip()
            exceptions = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
            return ("" if goes_direct(server, exceptions) else url), name
    return "", ""


def goes_direct(server: Server, exceptions: str) -> bool:
    """Whether ``NO_PROXY`` names the server: host, domain, address, network, each with a port."""
    return any(
        _matches(entry.lower(), server) for entry in exceptions.replace(",", " ").split() if entry
    )


def _matches(entry: str, server: Server) -> bool:
    if entry == "*":
        return True
    pattern, port = _split_port(entry)
    if port and port != str(server.port):
        return False
    host = server.name.rstrip(".").lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        domain = pattern.rstrip(".")
        domain = domain[2:] if domain.startswith("*.") else domain.lstrip(".")
        return bool(domain) and (host == domain or host.endswith("." + domain))
    try:
        return address in ipaddress.ip_network(pattern, strict=False)
    except ValueError:
        return False  # the entry is a name


def _split_port(entry: str) -> tuple[str, str]:
    if entry.startswith("["):
        host, _, rest = entry[1:].partition("]")
        return (host + rest, "") if rest.startswith("/") else (host, rest.lstrip(":"))
    if entry.count(":") == 1:
        host, _, port = entry.partition(":")
        return host, port
    return entry, ""


def open_tunnel(sock: socket.socket, proxy: Proxy, server: Server) -> None:
    """Have the proxy connect to the server. Raises ProxyError with what it answered, OSError."""
    place = authority(server.name, server.port)
    lines = [f"CONNECT {place} HTTP/1.1", f"Host: {place}"]
    lines += [f"{name}: {value}" for name, value in proxy.headers.items()]
    sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("ascii"))
    head = bytearray()
    while not head.endswith((b"\r\n\r\n", b"\n\n")):
        # Byte by byte: what follows the head is the server's.
        byte = sock.recv(1)
        if not byte or len(head) > LONGEST_HEAD_BYTES:
            raise ProxyError(f"the proxy {proxy.name} did not answer like a proxy")
        head += byte
    status = _STATUS.match(bytes(head))
    if status is None:
        raise ProxyError(f"the proxy {proxy.name} did not answer like a proxy")
    if status.group(1)[:1] != b"2":
        answer = b" ".join(part for part in status.groups() if part).decode("ascii")
        raise ProxyError(f"the proxy {proxy.name} does not connect to {place}: {answer}")
