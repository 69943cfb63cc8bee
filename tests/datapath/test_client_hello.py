"""ClientHellos: real ones are understood however they are cut, and no bytes at all lead astray."""

from __future__ import annotations

import ssl
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lb._ext.hello import read
from tests.support.client_hello import (
    MORE,
    NONE,
    Hello,
    client_hello,
    in_records,
    slowly_read,
    with_name,
)
from tests.support.fuzzing import CASES, SEED, mutated

LONG = ".".join(["n" * 61] * 4) + ".example"  # 255 bytes
HELLOS = {
    "plain": client_hello("api.example.com"),
    "old": client_hello("api.example.com", version=ssl.TLSVersion.TLSv1_2),
    "two protocols": client_hello("api.example.com", ["h2", "http/1.1"]),
    "one protocol": client_hello("a.b", ["h2"]),
    "no name": client_hello(None),
    "no name, one protocol": client_hello(None, ["imap"]),
    "short name": client_hello("a"),
    "long name": client_hello(LONG, ["h2"]),
    "long protocols": client_hello("a.b", ["p" * 255, "q" * 255]),
}


def ours(data: bytes) -> Hello | str:
    try:
        hello = read(data)
    except ValueError:
        return NONE
    return MORE if hello is None else dict(hello)


@pytest.mark.parametrize(
    ("which", "name", "protocols", "sole"),
    [
        ("plain", b"api.example.com", b"", b""),
        ("old", b"api.example.com", b"", b""),
        ("two protocols", b"api.example.com", b"\x02h2\x08http/1.1", b""),
        ("one protocol", b"a.b", b"\x02h2", b"h2"),
        ("no name", b"", b"", b""),
        ("no name, one protocol", b"", b"\x04imap", b"imap"),
        ("short name", b"a", b"", b""),
        ("long name", LONG.encode(), b"\x02h2", b"h2"),
        ("long protocols", b"a.b", (b"\xff" + b"p" * 255) + (b"\xff" + b"q" * 255), b""),
    ],
)
def test_hello_of_a_real_client_is_understood(which: str, name: bytes, protocols: bytes, sole: bytes) -> None:
    told = {"name": name, "protocols": protocols, "sole_protocol": sole}
    assert ours(HELLOS[which]) == slowly_read(HELLOS[which]) == told
    assert ours(HELLOS[which] + b"and what follows") == told


@pytest.mark.parametrize("which", HELLOS)
def test_hello_is_incomplete_until_its_last_byte(which: str) -> None:
    hello = HELLOS[which]
    assert all(read(hello[:size]) is None for size in range(len(hello)))


@pytest.mark.parametrize("which", HELLOS)
def test_hello_in_records_of_any_size_says_the_same(which: str) -> None:
    told = ours(HELLOS[which])
    for size in range(1, len(HELLOS[which])):
        assert ours(in_records(HELLOS[which], size)) == told, size
    tiny = in_records(HELLOS[which], 1)
    assert all(read(tiny[:size]) is None for size in range(0, len(tiny), 7))


def test_name_is_kept_in_lower_case() -> None:
    shouted = with_name(HELLOS["plain"], "api.example.com", b"API.Example.COM")
    assert ours(shouted)["name"] == b"api.example.com"  # type: ignore[index]


@pytest.mark.parametrize(
    "name",
    [
        b'api"example.com',
        b"api\\example.com",
        b"api\nexample.com",
        b"api\0example.com",
        b"api\xc3\xa4xample.com",
    ],
)
def test_name_that_is_no_host_name_is_none(name: bytes) -> None:
    hello = with_name(HELLOS["plain"], "api.example.com", name)
    assert ours(hello) == slowly_read(hello) == {"name": b"", "protocols": b"", "sole_protocol": b""}


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
        b"\x80\x2e\x01\x03\x01",  # a hello of SSL 2
        b"\x15\x03\x01\x00\x02\x02\x28",  # an alert
        b"\x16\x02\x00\x00\x05\x01",  # of no version that there is
        b"\x16\x03\x01\x00\x00",  # an empty record
        b"\x16\x03\x01\x40\x01\x01",  # a record that is too long
        b"\x16\x03\x01\x00\x05\x02",  # a ServerHello
        b"\x16\x03\x01\x00\x01\x01\x17",  # which is not gone on with
        b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",  # with nothing in it
    ],
)
def test_what_is_no_hello_is_known_at_once(data: bytes) -> None:
    assert ours(data) == slowly_read(data) == NONE


def test_mutated_hello_is_read_as_slowly_read() -> None:
    made = [
        *HELLOS.values(),
        *(in_records(hello, size) for hello in HELLOS.values() for size in (7, 60, 400)),
    ]
    verdicts: Counter[str] = Counter()
    for data in mutated(made):
        one, other = ours(data), slowly_read(data)
        assert one == other, f"seed {SEED}: {data!r}"
        verdicts[one if isinstance(one, str) else "read"] += 1
    print(dict(verdicts))
    assert min(verdicts.values()) > CASES / 50 and len(verdicts) == 3, "the mutations are no test any more"


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=300), st.sampled_from([b"", b"\x16\x03\x01", b"\x16\x03\x01\x00\xff\x01\x00\x00\x99"])
)
def test_any_bytes_are_read_as_slowly_read(data: bytes, start: bytes) -> None:
    assert ours(start + data) == slowly_read(start + data)
