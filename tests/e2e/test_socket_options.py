"""`tcp:` and `connect.source` through a whole lb, in a network namespace of the test's own."""

from __future__ import annotations

from pathlib import Path

from tests.support.netns import run_in_netns
from tests.support.process import needs

PRELUDE = """
import json, re, socket, subprocess, sys
from pathlib import Path
from lb.shell.namespace import within
from tests.support.lb_process import configuration, running_lb
from tests.support.netns import neighbour
from tests.support.scripted_endpoint import ScriptedEndpoint
from tests.support.sessions import echoes
from tests.support.waiting import eventually

folder = Path(sys.argv[1])

def text(endpoints, binds=("0.0.0.0:8000",), pool=None, **tcp):
    return configuration(
        workers=2,
        listeners={"web": {"bind": list(binds), "pool": "web", "tcp": tcp}},
        pools={"web": {"endpoints": endpoints} | (pool or {})},
    )

def reach(host, netns=None, port=8000, timeout_s=10.0):
    made = within(netns, socket.socket)
    made.settimeout(timeout_s)
    made.connect((host, port))
    return made

def refused(host, netns=None):
    try:
        reach(host, netns, timeout_s=1.0).close()
    except (ConnectionRefusedError, TimeoutError):
        return True
    return False
"""


def run(script: str, folder: Path) -> None:
    assert run_in_netns(PRELUDE + script, str(folder)).endswith("done\n")


def test_options_hold_for_accepted_connections_and_change_by_reload(folder: Path) -> None:
    """Seen from outside, by ss: the accepted sockets are a worker's."""
    needs("ss")
    run(
        """
endpoint = ScriptedEndpoint().echo()
at = ["{}:{}".format(*endpoint.address)]

def session_of(client):
    its = f":{client.getsockname()[1]}"
    words = ["ss", "-tnHime", "--tos", "state", "established", "sport", "=", ":8000", "dport", "=", its]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout

def changed(**tcp):
    lb.replace(text(at, **tcp))
    answer = lb.reload()
    assert answer["ok"], answer

options = {"mark": 42, "dscp": 46, "mss": 1000, "congestion": "reno"}
with running_lb(text(at, **options), folder) as lb:
    before = reach("127.0.0.1")
    assert echoes(before)
    seen = session_of(before)
    assert "fwmark:0x2a" in seen and "tos:0xb8" in seen and " reno " in seen, seen
    assert 900 < before.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= 1000
    changed(**options | {"mark": 7, "dscp": None, "mss": 600})
    after = reach("127.0.0.1")
    assert echoes(after) and echoes(before)
    seen = session_of(after)
    assert "fwmark:0x7" in seen and "tos:0xb8" not in seen and " reno " in seen, seen
    assert 500 < after.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) <= 600
    assert "fwmark:0x2a" in session_of(before), "what stands is as it was"
    lb.replace(text(at, congestion="nosuch", mark=9))
    answer = lb.reload()
    assert not answer["ok"] and "this kernel has no 'nosuch'" in answer["errors"][0]["message"], answer
    again = reach("127.0.0.1")
    assert echoes(again) and "fwmark:0x7" in session_of(again), "as before the reload"
    assert echoes(before)
print("done")
""",
        folder,
    )


def test_address_that_is_not_there_yet_is_served_when_it_comes(folder: Path) -> None:
    run(
        """
endpoint = ScriptedEndpoint().echo()
at = ["{}:{}".format(*endpoint.address)]
with running_lb(text(at, binds=["10.77.0.1:8000"], freebind=True), folder) as lb:
    subprocess.run(["ip", "address", "add", "10.77.0.1/32", "dev", "lo"], check=True)
    assert echoes(reach("10.77.0.1"))
print("done")
""",
        folder,
    )


def test_transparent_listener_takes_whom_the_routing_brings(folder: Path) -> None:
    """Connections to any address of a network that is routed here as local."""
    run(
        """
endpoint = ScriptedEndpoint().echo()
at = ["{}:{}".format(*endpoint.address)]
with running_lb(text(at, binds=["10.78.1.1:8000"], transparent=True), folder) as lb:
    subprocess.run(["ip", "route", "add", "local", "10.78.0.0/16", "dev", "lo"], check=True)
    client = reach("10.78.1.1")
    assert echoes(client)
    client.close()
    assert lb.whole_access()[0]["local"] == "10.78.1.1:8000"
print("done")
""",
        folder,
    )


def test_listener_moves_to_an_interface_and_into_a_namespace(folder: Path) -> None:
    """Sessions live on, and who may come is who comes that way."""
    run(
        """
endpoint = ScriptedEndpoint().echo()
at = ["{}:{}".format(*endpoint.address)]
with neighbour("n0", "10.9.0.1", "10.9.0.2") as there, running_lb(text(at), folder) as lb:
    session = reach("10.9.0.1", there)
    assert echoes(session) and echoes(reach("127.0.0.1"))
    lb.replace(text(at, interface="n0"))
    assert lb.reload()["ok"]
    assert echoes(reach("10.9.0.1", there))
    eventually(lambda: refused("127.0.0.1"), within_s=10, reason="loopback is not that interface")
    assert echoes(session)
    lb.replace(text(at, netns=there))
    assert lb.reload()["ok"]
    assert echoes(reach("10.9.0.2")) and echoes(reach("127.0.0.1", there))
    eventually(lambda: refused("10.9.0.1", there), within_s=10, reason="it listens elsewhere")
    assert echoes(session)
    lb.replace(text(at, interface="none0"))
    answer = lb.reload()
    assert not answer["ok"] and "tcp.interface: there is no interface 'none0'" in str(answer), answer
    assert echoes(reach("10.9.0.2")) and echoes(session)
    lb.replace(text(at))
    assert lb.reload()["ok"]
    assert echoes(reach("127.0.0.1")) and echoes(session)
    eventually(lambda: len(lb.events("listener_closed")) == 3, within_s=20, reason="the others ended")
    assert not any(event["connections_lost"] for event in lb.events("listener_closed"))
print("done")
""",
        folder,
    )


def test_sources_are_seen_by_the_endpoint_and_absent_ones_are_warned_about(folder: Path) -> None:
    run(
        """
endpoint = ScriptedEndpoint()
at = ["{}:{}".format(*endpoint.address)]

def seen():
    client = reach("127.0.0.1")
    with endpoint.accept() as server:
        client.close()
        return server.getpeername()[0]

sources = ["127.0.0.2", "127.0.0.3", "192.0.2.7"]
with running_lb(text(at, pool={"connect": {"source": sources}}), folder) as lb:
    assert {seen() for _ in range(40)} == {"127.0.0.2", "127.0.0.3"}
    [warning] = [one for one in lb.status()["warnings"] if "192.0.2.7" in one]
    assert warning.startswith("pools.web.connect.source: this machine has no address 192.0.2.7"), warning
    assert warning in {event["warning"] for event in lb.events("config_warned")}
    failures = lb.metrics().sum("lb_endpoint_connect_failures_total")
    assert failures == 0, failures
    lb.replace(text(at, pool={"connect": {"source": ["192.0.2.8"]}}))
    answer = lb.reload()
    assert answer["ok"] and "192.0.2.8" in answer["warnings"][0], answer
    lb.replace(text(at))
    assert lb.reload()["ok"]
    assert seen() == "127.0.0.1"
    assert not lb.status()["warnings"]
print("done")
""",
        folder,
    )
