"""Looking an address up in a list of networks, against asking each network in turn."""

from __future__ import annotations

import os
from ipaddress import IPv4Network, IPv6Network, ip_address

from hypothesis import example, given, settings
from hypothesis import strategies as st

from lb._ext.gate import are_allowed
from lb.shell.datapath import compile_snapshot
from tests.support.engine_bench import snapshot_of
from tests.support.snapshots import networks, with_listener

V4_NEAR = IPv4Network("10.0.0.0/26")
V6_NEAR = IPv6Network("2001:db8::/122")


def found(texts: list[str], hosts: list[str]) -> list[bool]:
    fd = compile_snapshot(with_listener(snapshot_of([]), allow=networks(*texts)))
    try:
        return are_allowed(fd, hosts)
    finally:
        os.close(fd)


def oracle(texts: list[str], host: str) -> bool:
    if host == "unix":
        return "unix:" in texts
    address = ip_address(host)
    address = getattr(address, "ipv4_mapped", None) or address
    listed = [IPv6Network(text) if ":" in text else IPv4Network(text) for text in texts if text != "unix:"]
    return any(address in network for network in listed)


# Close together, so that ranges touch, overlap and are missed by one; and from everywhere.
v4_hosts = st.one_of(
    st.integers(int(V4_NEAR[0]) - 1, int(V4_NEAR[-1]) + 1), st.integers(0, 2**32 - 1), st.just(0)
).map(lambda number: str(ip_address(number)))
v6_hosts = st.one_of(
    st.integers(int(V6_NEAR[0]) - 1, int(V6_NEAR[-1]) + 1),
    st.integers(2**64 - 2, 2**64 + 2),
    st.integers(2**32, 2**128 - 1),
).map(lambda number: str(ip_address(number)))
mapped = v4_hosts.map("::ffff:{}".format)
v4_networks = st.builds(
    lambda host, bits: str(IPv4Network((host, bits), False)), v4_hosts, st.integers(0, 32)
)
v6_networks = st.builds(
    lambda host, bits: str(IPv6Network((host, bits), False)), v6_hosts, st.integers(0, 128)
)
near_v4 = st.builds(lambda host, bits: str(IPv4Network((host, bits), False)), v4_hosts, st.integers(28, 32))
near_v6 = st.builds(lambda host, bits: str(IPv6Network((host, bits), False)), v6_hosts, st.integers(124, 128))
lists = st.lists(st.one_of(near_v4, near_v6, v4_networks, v6_networks, st.just("unix:")), max_size=12)


@settings(max_examples=400, deadline=None)
@given(lists, st.lists(st.one_of(v4_hosts, v6_hosts, mapped, st.just("unix")), min_size=1, max_size=12))
@example([], ["0.0.0.0", "255.255.255.255", "::", "unix"])
@example(["0.0.0.0/0"], ["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4", "::1", "unix"])
@example(["::/0"], ["::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "1.2.3.4"])
def test_networks_contain_what_one_of_them_contains(texts: list[str], hosts: list[str]) -> None:
    assert found(texts, hosts) == [oracle(texts, host) for host in hosts]


def test_networks_of_many_thousand_entries_are_searched_whole() -> None:
    """None of these touch: each stays a range of its own."""
    texts = [
        f"{10 + number // 16384}.{number // 64 % 256}.{number % 64 * 4}.0/24" for number in range(40_000)
    ]
    hosts = [
        f"{10 + n // 16384}.{n // 64 % 256}.{n % 64 * 4 + odd}.7"
        for n in range(0, 40_000, 97)
        for odd in (0, 1)
    ]
    assert found(texts, hosts) == [True, False] * (len(hosts) // 2)
