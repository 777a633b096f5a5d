"""Who the client is: every header that proxies write and that attackers forge, in one table."""

from __future__ import annotations

import time
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devops_manager.lib.client_address import (
    NOBODY,
    Client,
    Proxies,
    client_of,
    neighborhood,
    parse_address,
)
from devops_manager.lib.forwarded import parse_forwarded

PROXIES = Proxies.parse(["10.0.0.0/8", "127.0.0.1", "2001:db8:ffff::/48", "unix"])
PROXY = "10.0.0.1"


def by_for(*lines: str, peer: str | None = PROXY) -> str | None:
    return client_of(peer, trusted=PROXIES, forwarded_for=lines).address


def by_forwarded(*lines: str, peer: str | None = PROXY) -> str | None:
    return client_of(peer, trusted=PROXIES, forwarded=lines).address


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        (["192.0.2.1"], "192.0.2.1"),
        ([" 192.0.2.1 "], "192.0.2.1"),
        (["192.0.2.1:4711"], "192.0.2.1"),
        (["2001:db8::1"], "2001:db8::1"),
        (["2001:DB8::0:1"], "2001:db8::1"),
        (["[2001:db8::1]"], "2001:db8::1"),
        (["[2001:db8::1]:4711"], "2001:db8::1"),
        (["fe80::1%eth0"], "fe80::1"),
        (["::ffff:192.0.2.1"], "192.0.2.1"),
        (["::ffff:10.0.0.7, ::ffff:10.0.0.9"], "10.0.0.7"),
        # the left-most entries are the client's own words
        (["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
        (["6.6.6.6,10.0.0.9, 192.0.2.1"], "192.0.2.1"),
        (["127.0.0.1, 192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1, 10.0.0.3"], "192.0.2.1"),
        (["6.6.6.6, 192.0.2.1, 10.0.0.3, 10.0.0.2"], "192.0.2.1"),
        (["garbage, 192.0.2.1"], "192.0.2.1"),
        ([",,,192.0.2.1"], "192.0.2.1"),
        # several headers are one list, in their order
        (["6.6.6.6", "192.0.2.1"], "192.0.2.1"),
        (["192.0.2.1", "10.0.0.3"], "192.0.2.1"),
        # a client inside the trusted networks
        (["10.1.2.3"], "10.1.2.3"),
        (["10.1.2.3, 10.0.0.3"], "10.1.2.3"),
        # what names no address ends the walk at the proxy that wrote it
        (["garbage"], PROXY),
        (["192.0.2.1, garbage"], PROXY),
        (["192.0.2.1, garbage, 10.0.0.3"], "10.0.0.3"),
        ([""], PROXY),
        (["192.0.2.1,"], PROXY),
        (["unknown"], PROXY),
        (["192.0.2.1:x"], PROXY),
        (["192.0.2.1:123456"], PROXY),
        (["192.0.2.1:"], PROXY),
        (["[192.0.2.1"], PROXY),
        (["[2001:db8::1]x"], PROXY),
        (["192.0.2.01"], PROXY),
        (["192.0.2.1 6.6.6.6"], PROXY),
        (["192.0.2.\u0661"], PROXY),
        (["1234"], PROXY),
        (["'; DROP TABLE users"], PROXY),
        ([], PROXY),
    ],
)
def test_x_forwarded_for(lines: list[str], client: str) -> None:
    assert by_for(*lines) == client


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        (["for=192.0.2.1"], "192.0.2.1"),
        (["For=192.0.2.1;Proto=https;by=203.0.113.43"], "192.0.2.1"),
        (["proto=http;by=10.0.0.1;FOR=192.0.2.1"], "192.0.2.1"),
        (['for="192.0.2.1:4711"'], "192.0.2.1"),
        (["for=192.0.2.1:4711"], "192.0.2.1"),
        (['for="[2001:db8:cafe::17]:4711"'], "2001:db8:cafe::17"),
        (['for="[2001:db8:cafe::17]"'], "2001:db8:cafe::17"),
        (["for=[2001:db8:cafe::17]:80"], "2001:db8:cafe::17"),
        (['for="\\1\\92.0.2.1"'], "192.0.2.1"),
        (["for=6.6.6.6, for=192.0.2.1"], "192.0.2.1"),
        (["for=6.6.6.6", "for=192.0.2.1"], "192.0.2.1"),
        (["for=6.6.6.6,for=192.0.2.1 , for=10.0.0.3"], "192.0.2.1"),
        ([", for=192.0.2.1 ;, "], "192.0.2.1"),
        (["for=unknown, for=192.0.2.1"], "192.0.2.1"),
        (["for=192.0.2.1, for=unknown"], PROXY),
        (["for=192.0.2.1, for=_hidden"], PROXY),
        (["for=192.0.2.1, by=10.0.0.1"], PROXY),
        (["for=_gazonk"], PROXY),
        ([""], PROXY),
        # one mistake anywhere and nothing is believed: these would hide or forge the proxy's entry
        (['for=6.6.6.6;x=", for=192.0.2.1'], PROXY),
        (['for=6.6.6.6;x="', 'for="[2001:db8::5]:80"'], PROXY),
        (['for=6.6.6.6;x="', 'for="[2001:db8::5]"', 'for="[2001:db8::6]"'], PROXY),
        (['for=6.6.6.6;x="\\', "for=192.0.2.1"], PROXY),
        (["for=6.6.6.6;for=192.0.2.1"], PROXY),
        (["for 192.0.2.1"], PROXY),
        (["=192.0.2.1"], PROXY),
        (["for==192.0.2.1"], PROXY),
        (['for="192.0.2.1"x'], PROXY),
        (["192.0.2.1"], PROXY),
    ],
)
def test_forwarded(lines: list[str], client: str) -> None:
    assert by_forwarded(*lines) == client


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "192.0.2.9", "10.0.0.1", "::ffff:127.0.0.1"])
def test_nobody_is_believed_by_default(peer: str) -> None:
    client = client_of(
        peer,
        trusted=NOBODY,
        forwarded_for=["6.6.6.6"],
        forwarded=["for=6.6.6.6;proto=https"],
        forwarded_proto=["https"],
    )
    assert client == Client(peer.removeprefix("::ffff:"), "")


@pytest.mark.parametrize("peer", ["192.0.2.9", "11.0.0.1", "127.0.0.2", "2001:db8:fffe::1"])
def test_a_peer_that_is_no_proxy_is_the_client(peer: str) -> None:
    assert by_for("6.6.6.6", peer=peer) == peer
    assert by_forwarded("for=6.6.6.6", peer=peer) == peer


@pytest.mark.parametrize("peer", ["10.255.0.1", "::ffff:10.0.0.1", "127.0.0.1", "2001:db8:ffff::9"])
def test_a_proxy_is_known_in_every_spelling(peer: str) -> None:
    assert by_for("192.0.2.1", peer=peer) == "192.0.2.1"


@pytest.mark.parametrize("peer", [None, "", "/run/web.sock"])
def test_a_unix_socket_has_no_address_and_is_trusted_only_by_name(peer: str | None) -> None:
    assert by_for("192.0.2.1", peer=peer) == "192.0.2.1"
    without = Proxies.parse(["10.0.0.0/8"])
    assert client_of(peer, trusted=without, forwarded_for=["192.0.2.1"]) == Client(None)


@pytest.mark.parametrize(
    ("one", "other", "client"),
    [
        ("192.0.2.1", "for=192.0.2.1", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1", "for=192.0.2.1", "192.0.2.1"),
        # the proxy appended to one header and passed the client's own other one on
        ("192.0.2.1", "for=6.6.6.6", PROXY),
        ("6.6.6.6", "for=192.0.2.1", PROXY),
        ("192.0.2.1", "rubbish", PROXY),
    ],
)
def test_two_headers_that_disagree_name_nobody(one: str, other: str, client: str) -> None:
    found = client_of(PROXY, trusted=PROXIES, forwarded_for=[one], forwarded=[other])
    assert found.address == client


@pytest.mark.parametrize(
    ("headers", "scheme"),
    [
        ({"forwarded_proto": ["https"]}, "https"),
        ({"forwarded_proto": ["HTTPS "]}, "https"),
        ({"forwarded_proto": ["https, http"]}, "http"),
        ({"forwarded_proto": ["https", "http"]}, "http"),
        ({"forwarded_proto": ["gopher"]}, ""),
        ({"forwarded": ["for=6.6.6.6;proto=http, for=192.0.2.1;proto=https"]}, "https"),
        ({"forwarded": ["for=6.6.6.6;proto=https, for=192.0.2.1"]}, ""),
        ({}, ""),
    ],
)
def test_the_scheme_is_the_nearest_proxys_word(headers: dict[str, Any], scheme: str) -> None:
    assert client_of(PROXY, trusted=PROXIES, **headers).scheme == scheme
    assert client_of("192.0.2.9", trusted=PROXIES, **headers).scheme == ""


@pytest.mark.parametrize("word", ["10.0.0.1/8", "10.0.0.0/33", "proxy", "", "*", "10.0.0"])
def test_a_network_that_is_none_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        Proxies.parse([word])


def test_limits_count_an_ipv6_network_as_one() -> None:
    assert neighborhood("2001:db8:1:2:3:4:5:6") == "2001:db8:1:2::"
    assert neighborhood("192.0.2.1") == "192.0.2.1"
    assert neighborhood(None) is None


@given(st.text(alphabet='for=,;:"\\[]. 1a%_', max_size=80), st.ip_addresses())
def test_no_text_of_the_client_moves_the_entry_of_the_proxy(text: str, client: Any) -> None:
    """Whatever it writes, a client is found at its own address or hidden behind the proxy's."""
    plain = parse_address(str(client))
    hidden = {str(plain), PROXY}
    if PROXIES.trust(plain):
        return
    assert by_for(text, str(client)) in hidden
    quoted = f'for="[{client}]"' if client.version == 6 else f"for={client}"
    assert by_forwarded(text, quoted) in hidden
    assert by_forwarded(f"{text}, {quoted}") in hidden


@pytest.mark.parametrize(
    "unit", ["1.1.1.1,", "for=1.1.1.1,", 'a="\\"', ";", ",", '"', " ", "[", "\\"]
)
def test_reading_takes_linear_time(unit: str) -> None:
    text = unit * (200_000 // len(unit))
    begun = time.process_time()
    client_of(PROXY, trusted=PROXIES, forwarded_for=[text], forwarded=[text])
    parse_forwarded(f'for="{text}')
    assert time.process_time() - begun < 2


def test_an_address_is_an_address() -> None:
    assert parse_address("192.0.2.1") == ip_address("192.0.2.1")
