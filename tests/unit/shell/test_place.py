"""Which listeners share a place, and which places are in each other's way."""

from __future__ import annotations

import pytest

from lb.model.address import Address, SocketAddress, UnixAddress
from lb.model.listener import Listener, TcpOptions
from lb.shell.place import Place, overlap, places, port_of

ANY, ONE, OTHER = Address("0.0.0.0", 80), Address("10.0.0.1", 80), Address("10.0.0.2", 80)


def place(address: SocketAddress, **options: str) -> Place:
    [(found, _)] = places([Listener("web", (address,), "pool", tcp=TcpOptions(**options))])
    return found


def test_place_is_the_same_whoever_listens_there() -> None:
    listeners = [Listener(name, (ONE, UnixAddress("/run/a")), "pool") for name in ("web", "api")]
    found = [at for at, _ in places(listeners)]
    assert found[:2] == found[2:]


def test_place_of_port_0_is_that_of_one_listener() -> None:
    free = Address("127.0.0.1", 0)
    found = [at for at, _ in places([Listener(name, (free, free), "pool") for name in ("web", "api")])]
    assert len(set(found)) == 4


def test_place_of_another_interface_or_namespace_is_another() -> None:
    assert len({place(ONE), place(ONE, interface="eth0"), place(ONE, netns="a"), place(ONE, netns="b")}) == 4


def test_place_of_a_path_knows_no_namespace() -> None:
    path = UnixAddress("/run/web.sock")
    assert place(path, netns="a", interface="eth0") == place(path)


@pytest.mark.parametrize(
    ("one", "other", "overlaps"),
    [
        (place(ONE), place(ANY), True),
        (place(ONE), place(OTHER), False),
        (place(ONE), place(Address("10.0.0.1", 81)), False),
        (place(ANY), place(Address("::", 80)), False),
        (place(Address("::1", 80)), place(Address("::", 80)), True),
        (place(ONE), place(ONE, interface="eth0"), True),
        (place(ANY, interface="eth0"), place(ONE), True),
        (place(ONE, interface="eth0"), place(ONE, interface="eth1"), False),
        (place(ANY, netns="a"), place(ONE), False),
        (place(ANY, netns="a"), place(ONE, netns="a"), True),
        (place(UnixAddress("/a")), place(UnixAddress("/a")), False),
        (place(UnixAddress("/a")), place(ANY), False),
    ],
)
def test_places_overlap_where_a_client_could_mean_either(one: Place, other: Place, overlaps: bool) -> None:
    assert overlap(one, other) == overlap(other, one) == overlaps
    assert port_of(one) == port_of(other) or not overlaps
