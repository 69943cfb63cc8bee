"""One address has one text."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb.model.address import PORT_MAX, Address, UnixAddress, spans


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("10.0.0.1:80", "10.0.0.1", 80),
        ("0.0.0.0:0", "0.0.0.0", 0),
        ("[2001:DB8:0:0::1]:443", "2001:db8::1", 443),
        ("[::]:65535", "::", 65535),
    ],
)
def test_address_is_parsed_into_its_canonical_form(text: str, host: str, port: int) -> None:
    assert Address.parse(text) == Address(host, port)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("10.0.0.1", "has no port"),
        ("10.0.0.1:", "is not a port"),
        ("10.0.0.1:65536", "ports are 1 to 65535"),
        ("10.0.0.1:-1", "is not a port"),
        ("10.0.0.1:８０", "is not a port"),
        ("::1:80", r"in brackets: \[::1\]:80"),
        ("[10.0.0.1]:80", "write 10.0.0.1:80"),
        ("010.0.0.1:80", "is not an IP address"),
        ("localhost:80", "is not an IP address"),
        ("", "has no port"),
    ],
)
def test_address_that_is_none_says_what_to_write(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        Address.parse(text)


@given(st.ip_addresses(), st.integers(0, PORT_MAX))
def test_text_of_an_address_is_read_back_as_it_was(
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int
) -> None:
    address = Address(ip.compressed, port)
    assert Address.parse(str(address)) == address
    assert address.is_ipv6 == (ip.version == 6)


def test_wildcard_is_known_in_both_families() -> None:
    texts = ("0.0.0.0:1", "[0:0::0]:1", "10.0.0.1:1", "[::1]:1")
    assert [Address.parse(text).is_wildcard for text in texts] == [True, True, False, False]


def test_spans_tell_successive_ports_of_one_host_as_a_range() -> None:
    addresses = [Address("10.0.0.1", port) for port in (80, 81, 82, 84)]
    addresses += [Address("::", port) for port in (85, 86)]
    path = UnixAddress("/run/web.sock")
    assert spans([path, *addresses, path, Address("10.0.0.1", 83)]) == [
        "unix:/run/web.sock",
        "10.0.0.1:80-82",
        "10.0.0.1:84",
        "[::]:85-86",
        "unix:/run/web.sock",
        "10.0.0.1:83",
    ]
    assert spans([]) == []
