"""PROXY headers: read as another implementation reads them, written so that it reads what was meant."""

from __future__ import annotations

import ipaddress
import itertools
import random
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lb._ext.introduction import build
from lb._ext.proxy import parse
from tests.support.fuzzing import CASES, SEED, mutated
from tests.support.proxy_headers import (
    ACCEPTED_BY_US,
    ALPN,
    AUTHORITY,
    BAD,
    CRC32C,
    LOCAL,
    MORE,
    NETNS,
    NOOP,
    PROXY,
    REFUSED_BY_US,
    SIGNATURE,
    SSL,
    TCP6,
    TOLD_OTHERWISE,
    UNIQUE_ID,
    UNIX,
    Host,
    Told,
    addresses,
    canonical,
    difference,
    theirs,
    theirs_v1,
    theirs_v2,
    tlv,
    v2,
    with_checksum,
)

A4, B4 = ("192.0.2.1", 56324), ("198.51.100.7", 443)
A6, B6 = ("2001:db8::1", 4000), ("2001:db8:0:0:1::ffff", 65535)

ports = st.integers(0, 65535)
hosts4 = st.ip_addresses(v=4).map(str)
hosts6 = st.ip_addresses(v=6).map(str)
pairs = st.one_of(
    st.tuples(st.tuples(hosts4, ports), st.tuples(hosts4, ports)),
    st.tuples(st.tuples(hosts6, ports), st.tuples(hosts6, ports)),
)
paths = st.text(st.characters(min_codepoint=1, max_codepoint=126), max_size=108)
names, protocols, ids = st.binary(max_size=255), st.binary(max_size=255), st.binary(max_size=128)
others = st.dictionaries(st.sampled_from([NOOP, NETNS, 0xE0, 0xEA, 0xFF]), st.binary(max_size=40), max_size=3)


def ours(data: bytes) -> Told | str:
    try:
        told = parse(data)
    except ValueError:
        return BAD
    return MORE if told is None else canonical(dict(told))


def same(host: Host) -> Host:
    return str(ipaddress.ip_address(host[0])), host[1]


def told(size: int, pair: tuple[Host, Host] | None, **tlvs: bytes | None) -> Told:
    absent: Told = {"authority": None, "alpn": None, "unique_id": None}
    client, destination = (same(pair[0]), same(pair[1])) if pair else (None, None)
    return {"size": size, "client": client, "destination": destination} | absent | tlvs


# ---- Both ways --------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(pairs, st.binary(max_size=30))
def test_line_that_is_written_is_read_alike_by_both(pair: tuple[Host, Host], rest: bytes) -> None:
    header = build(1, *pair)
    assert header.endswith(b"\r\n") and len(header) <= 107
    assert ours(header + rest) == theirs(header + rest) == told(len(header), pair)


@settings(max_examples=300, deadline=None)
@given(pairs, names, protocols, ids, st.binary(max_size=30))
def test_binary_header_that_is_written_is_read_alike_by_both(
    pair: tuple[Host, Host], name: bytes, protocol: bytes, unique_id: bytes, rest: bytes
) -> None:
    header = build(2, *pair, name=name, protocol=protocol, unique_id=unique_id)
    meant = told(
        len(header), pair, authority=name or None, alpn=protocol or None, unique_id=unique_id or None
    )
    assert ours(header + rest) == theirs(header + rest) == meant


@settings(max_examples=300, deadline=None)
@given(pairs)
def test_line_that_theirs_writes_is_read_as_it_was_meant(pair: tuple[Host, Host]) -> None:
    header = theirs_v1(*pair)
    assert ours(header) == told(len(header), pair)


@settings(max_examples=300, deadline=None)
@given(pairs, names, protocols, ids, others)
def test_binary_header_that_theirs_writes_is_read_as_it_was_meant(
    pair: tuple[Host, Host], name: bytes, protocol: bytes, unique_id: bytes, other: dict[int, bytes]
) -> None:
    header = theirs_v2(*pair, other | {AUTHORITY: name, ALPN: protocol, UNIQUE_ID: unique_id})
    assert ours(header) == told(len(header), pair, authority=name, alpn=protocol, unique_id=unique_id)


@settings(max_examples=50, deadline=None)
@given(paths, paths)
def test_client_on_a_unix_socket_is_told_as_such(client: str, destination: str) -> None:
    assert ours(theirs_v2(client, destination, {})) == theirs(theirs_v2(client, destination, {}))
    assert canonical(dict(parse(theirs_v2(client, destination, {})) or {}))["client"] == ("unix", 0)


def test_addresses_of_two_families_are_written_as_mapped() -> None:
    for version in (1, 2):
        assert ours(build(version, A4, B6)) == told(
            len(build(version, A4, B6)), (("::ffff:192.0.2.1", A4[1]), B6)
        )
        assert ours(build(version, A6, B4)) == told(
            len(build(version, A6, B4)), (A6, ("::ffff:198.51.100.7", B4[1]))
        )


def test_addresses_of_no_ip_family_are_written_as_unknown() -> None:
    for pair in ((None, None), (None, B4), (A6, None)):
        assert build(1, *pair) == b"PROXY UNKNOWN\r\n"
        assert build(2, *pair) == SIGNATURE + b"\x21\x00\x00\x00"
        assert build(2, *pair, name=b"a.b") == SIGNATURE + b"\x21\x00\x00\x06" + tlv(AUTHORITY, b"a.b")


def test_longest_header_that_is_written_is_read() -> None:
    header = build(2, A6, B6, name=b"n" * 255, protocol=b"p" * 255, unique_id=b"i" * 128)
    assert ours(header) == told(
        len(header), (A6, B6), authority=b"n" * 255, alpn=b"p" * 255, unique_id=b"i" * 128
    )


# ---- Each byte of it --------------------------------------------------------------------------------


SSL_TLV = tlv(SSL, b"\x01\0\0\0\0" + tlv(0x21, b"TLSv1.3") + tlv(0x23, b"AES"))
GOOD = [
    b"PROXY UNKNOWN\r\n",
    b"PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n",
    b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n",
    b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n",
    b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.128 4000 0\r\n",
    b"PROXY TCP6 " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n",
    v2(command=LOCAL, family=0),
    v2(b"anything at all", command=LOCAL, family=0),
    v2(b"even of a family that is none", command=LOCAL, family=0xFF),
    v2(family=0),
    v2(b"what it may be", family=0),
    v2(addresses(A4, B4)),
    v2(addresses(A6, B6), family=TCP6),
    v2(b"/run/client.sock".ljust(108, b"\0") + b"/run/web.sock".ljust(108, b"\0"), family=UNIX),
    v2(addresses(A4, B4) + SSL_TLV + tlv(AUTHORITY, b"a.example") + tlv(UNIQUE_ID, b"7" * 128)),
    v2(addresses(A4, B4) + tlv(0xEA, b"\x01vpce-08d2bf15fac5001c9")),
    with_checksum(v2(addresses(A4, B4) + tlv(ALPN, b"h2"))),
    with_checksum(v2(addresses(A6, B6), family=TCP6)),
    with_checksum(v2(addresses(A4, B4) + tlv(UNIQUE_ID, b"q") + tlv(ALPN, b"h2"))),
    v2(addresses(A4, B4) + tlv(NOOP, bytes(4096 - 12 - 3))),
]


@pytest.mark.parametrize("header", GOOD, ids=range(len(GOOD)))
def test_header_is_incomplete_until_its_last_byte(header: bytes) -> None:
    for size in range(len(header)):
        assert parse(header[:size]) is None, f"after {size} of {len(header)} bytes"
    for rest in (b"", b"\r\n", b"GET / HTTP/1.1\r\n", header):
        found = parse(header + rest)
        assert found is not None and found["size"] == len(header)


def refused(header: bytes) -> bool:
    try:
        parse(header)
    except ValueError:
        return True
    return False


WRONG = {
    "lower case": b"proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    "no space": b"PROXYTCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    "two spaces": b"PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
    "two spaces within": b"PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n",
    "space at the end": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
    "a word too many": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
    "a word too few": b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
    "nothing": b"PROXY \r\n",
    "UDP4": b"PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
    "TCP5": b"PROXY TCP5 1.2.3.4 5.6.7.8 1 2\r\n",
    "UNKNOWNX": b"PROXY UNKNOWNX\r\n",
    "only LF": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n",
    "only CR": b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r" + b"x" * 80,
    "LF within": b"PROXY UNKNOWN \n\r\n",
    "octal": b"PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n",
    "three parts": b"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
    "four parts above": b"PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
    "zero byte": b"PROXY TCP4 1.2.3.4\0 5.6.7.8 1 2\r\n",
    "IPv6 as IPv4": b"PROXY TCP4 ::1 ::1 1 2\r\n",
    "IPv4 as IPv6": b"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
    "scope": b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
    "brackets": b"PROXY TCP6 [::1] ::1 1 2\r\n",
    "port above": b"PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
    "port far above": b"PROXY TCP4 1.2.3.4 5.6.7.8 4294967297 2\r\n",
    "port negative": b"PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
    "port with zeros": b"PROXY TCP4 1.2.3.4 5.6.7.8 080 2\r\n",
    "port in words": b"PROXY TCP4 1.2.3.4 5.6.7.8 http 2\r\n",
    "line of 108 bytes": b"PROXY UNKNOWN ".ljust(106, b"x") + b"\r\n",
    "line without end": b"PROXY UNKNOWN ".ljust(107, b"x"),
    "version 1 in binary": SIGNATURE + b"\x11\x11\0\x0c" + addresses(A4, B4),
    "version 3": SIGNATURE + b"\x31\x11\0\x0c" + addresses(A4, B4),
    "command 2": v2(addresses(A4, B4), command=0x22),
    "family 4": v2(addresses(A4, B4), family=0x41),
    "transport 3": v2(addresses(A4, B4), family=0x13),
    "datagram": v2(addresses(A4, B4), family=0x12),
    "datagram of no family": v2(family=0x02),
    "no room for IPv4": v2(addresses(A4, B4)[:-1]),
    "no room for IPv6": v2(addresses(A4, B4), family=TCP6),
    "no room for paths": v2(bytes(215), family=UNIX),
    "body of 4097 bytes": v2(addresses(A4, B4), size=4097),
    "local with a body of 4097 bytes": v2(command=LOCAL, size=4097),
    "TLV of two bytes": v2(addresses(A4, B4) + b"\x04\0"),
    "TLV that is cut": v2(addresses(A4, B4) + tlv(NOOP, b"12345")[:-1]),
    "TLV that is far too long": v2(addresses(A4, B4) + b"\x04\xff\xff"),
    "SSL TLV without its head": v2(addresses(A4, B4) + tlv(SSL, b"\x01\0\0\0")),
    "SSL TLV with a cut one": v2(addresses(A4, B4) + tlv(SSL, b"\x01\0\0\0\0" + tlv(0x21, b"TLS")[:-1])),
    "SSL TLV that ends within": v2(addresses(A4, B4) + tlv(SSL, b"\x01\0\0\0\0\x21") + tlv(NOOP, b"123")),
    "long id": v2(addresses(A4, B4) + tlv(UNIQUE_ID, bytes(129))),
    "checksum of three bytes": v2(addresses(A4, B4) + tlv(3, b"123")),
    "wrong checksum": with_checksum(v2(addresses(A4, B4)))[:-1] + b"\0",
}


@pytest.mark.parametrize("header", WRONG.values(), ids=list(WRONG))
def test_header_that_is_wrong_is_refused(header: bytes) -> None:
    assert refused(header)
    assert refused(header + b"and more")


def test_header_that_can_only_be_wrong_is_refused_before_it_is_whole() -> None:
    assert refused(b"G") and refused(b"PROXI") and refused(b"\r\n\r\n\0\r\nQUIT\r")
    for name in ("version 3", "command 2", "family 4", "datagram", "no room for IPv4", "body of 4097 bytes"):
        assert refused(WRONG[name][:16]), name


def test_checksum_that_is_wrong_in_any_bit_is_refused() -> None:
    header = with_checksum(v2(addresses(A4, B4) + tlv(ALPN, b"h2")))
    kind_at = len(header) - 7  # another kind would make it none
    for at, bit in itertools.product({*range(16, len(header))} - {kind_at}, range(8)):
        assert refused(header[:at] + bytes([header[at] ^ 1 << bit]) + header[at + 1 :]), (at, bit)


# ---- Whatever comes ---------------------------------------------------------------------------------


def drawn_line(lot: random.Random) -> bytes:
    """A line whose words are mostly right."""
    odd = lot.choice(
        ["0", "007", "+7", "1_0", "65536", "-1", "", "fe80::1%1", "1.2.3.4.", "::", "%", "UNKNOWN"]
    )
    words = ["TCP4", "10.0.0.1", "10.0.0.2", "1", "65535"]
    if lot.random() < 0.5:
        words = ["TCP6", "2001:db8::1", "::", "65535", "0"]
    if lot.random() < 0.6:
        words[lot.randrange(1, 5)] = odd
    return f"PROXY {' '.join(words)}\r\n".encode()


def drawn(lot: random.Random) -> bytes:
    """A header of version 2 of parts that are mostly right, some of them repeated and in any order."""
    family = lot.choice([0x00, 0x11, 0x11, 0x11, 0x21, 0x21, 0x31, 0x10, 0x20, 0x01, 0x12, 0x41, 0x13])
    hosts = {1: addresses(A4, B4), 2: addresses(A6, B6), 3: b"/run/\xc3\xa4".ljust(216, b"\0")}
    parts = [
        tlv(ALPN, b"h2"),
        tlv(AUTHORITY, b"a.example"),
        tlv(UNIQUE_ID, lot.randbytes(lot.choice([0, 8, 128, 129]))),
        tlv(NOOP, b""),
        tlv(SSL, b"\x01\0\0\0\0" + tlv(0x21, b"TLSv1.3")[: lot.choice([10, 10, 9, 2])]),
        tlv(CRC32C, bytes(4)),
    ]
    chosen = lot.choices(parts, [3, 3, 3, 3, 3, 1], k=lot.randint(0, 4))
    body = hosts.get(family >> 4, b"") + b"".join(chosen)
    header = v2(body, command=lot.choice([LOCAL, PROXY, PROXY, PROXY, PROXY]), family=family)
    return with_checksum(header) if lot.random() < 0.4 else header


def corpus() -> list[bytes]:
    lot = random.Random(SEED)
    made = [*GOOD, *WRONG.values(), *(drawn_line(lot) for _ in range(100)), *(drawn(lot) for _ in range(300))]
    for _ in range(40):
        pair = [(str(ipaddress.IPv4Address(lot.randbytes(4))), lot.randrange(65536)) for _ in range(2)]
        made.append(theirs_v2(pair[0], pair[1], {AUTHORITY: b"a.example", UNIQUE_ID: lot.randbytes(9)}))
        pair = [(str(ipaddress.IPv6Address(lot.randbytes(16))), lot.randrange(65536)) for _ in range(2)]
        made += [theirs_v1(pair[0], pair[1]), build(2, pair[0], pair[1], name=b"b.example", protocol=b"h2")]
    return made


def repaired(lot: random.Random, data: bytes) -> bytes:
    """Half of them get a body of the right size, or a right checksum: else few would pass the first check."""
    if not data.startswith(SIGNATURE) or len(data) < 16 or lot.random() < 0.5:
        return data
    body = data[:14] + (len(data) - 16 & 0xFFFF).to_bytes(2, "big") + data[16:]
    return with_checksum(body) if lot.random() < 0.3 else body


def test_mutated_header_is_read_alike_by_both_or_differs_for_a_known_reason() -> None:
    lot = random.Random(SEED)
    verdicts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    made = corpus()
    for data in itertools.chain(made, map(repaired, itertools.repeat(lot), mutated(made))):
        one, other = ours(data), theirs(data)
        verdicts[one if isinstance(one, str) else "read"] += 1
        if one == other:
            continue
        reason = difference(data, one, other)
        assert reason, f"seed {SEED}: {data!r}: we say {one}, they say {other}"
        reasons[reason] += 1
    print(dict(verdicts))
    print("\n".join(f"{count:6d}  {reason}" for reason, count in sorted(reasons.items())))
    assert min(verdicts.values()) > CASES / 50 and len(verdicts) == 3, "the mutations are no test any more"
    known = {*REFUSED_BY_US, *ACCEPTED_BY_US, *TOLD_OTHERWISE}
    assert set(reasons) == known, f"a difference that never occurs: {known - set(reasons)}"


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21"])
)
def test_any_bytes_are_read_alike_by_both_or_differ_for_a_known_reason(data: bytes, start: bytes) -> None:
    one, other = ours(start + data), theirs(start + data)
    assert one == other or difference(start + data, one, other)


def test_what_is_read_lies_within_what_was_given() -> None:
    """The size of a header never exceeds the bytes; what stands behind it changes nothing."""
    for data in mutated(corpus(), CASES // 4):
        found = ours(data)
        if isinstance(found, str):
            continue
        assert found["size"] <= len(data)
        assert ours(data[: found["size"]]) == found
        assert not found["unique_id"] or len(found["unique_id"]) <= 128
        assert re.match(rb"PROXY |\r\n\r\n\0", data)
