"""Where the gateway is: the ``server`` setting taken apart, IPv6 with and without a port."""

from __future__ import annotations

import dataclasses
from urllib.parse import unquote, urlsplit

from agents_app.protocol import PREFIX

DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclasses.dataclass(frozen=True)
class Server:
    """The gateway's address. ``host`` is what sockets take: an IPv6 address has no brackets."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.scheme == "https"

    @property
    def name(self) -> str:
        """The host as its certificate names it: an address without its zone, which is local."""
        return self.host.partition("%")[0]

    @property
    def authority(self) -> str:
        """The ``Host`` header: brackets around IPv6, the port unless it is the usual one."""
        if self.port == DEFAULT_PORTS[self.scheme]:
            return bracketed(self.name)
        return authority(self.name, self.port)


def parse_server(url: str) -> Server:
    """Take the setting apart. Raises ValueError for what is no address of a gateway."""
    parts = urlsplit(url)
    host = unquote(parts.hostname or "")
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    port = parts.port or DEFAULT_PORTS[parts.scheme]
    return Server(parts.scheme, host, port, parts.path.rstrip("/") + PREFIX)


def bracketed(host: str) -> str:
    """The host as it stands in a URL or a header."""
    return f"[{host}]" if ":" in host else host


def authority(host: str, port: int) -> str:
    """Host and port as one text."""
    return f"{bracketed(host)}:{port}"
