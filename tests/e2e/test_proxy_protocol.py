"""The PROXY protocol with real neighbours: nginx before lb, nginx behind it, and lb behind lb."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest

from tests.support.endpoints import endpoint
from tests.support.lb_process import configuration, one_pool, running_lb
from tests.support.nginx_proxy import sending_nginx, telling_nginx
from tests.support.ports import free_port
from tests.support.process import needs
from tests.support.proxy_headers import theirs_v1, theirs_v2
from tests.support.scale import Scale
from tests.support.sessions import acceptor, closed, connect, echoes, read_exactly
from tests.support.waiting import eventually, throughout

TRUSTED = {"from": ["127.0.0.0/8"]}
NOBODY = {"from": ["192.0.2.0/24"]}


def asked(port: int) -> tuple[str, tuple[str, int]]:
    """What a web server answers, and the address that asked."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.connect()
    name = connection.sock.getsockname()
    connection.request("GET", "/", headers={"Connection": "close"})
    try:
        return connection.getresponse().read().decode(), name
    finally:
        connection.close()


def is_served(port: int) -> bool:
    try:
        asked(port)
    except ConnectionError:
        return False
    return True


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_nginx_behind_lb_is_told_of_the_client_and_passes_its_checks(version: str, folder: Path) -> None:
    needs("nginx")
    port = free_port()
    with telling_nginx(folder) as web:
        text = one_pool(
            port,
            {"a": web},
            pool={
                "send_proxy": version,
                "check": {"type": "http", "initial": "unknown", "interval": "200ms"},
            },
        )
        with running_lb(text, folder) as lb:
            # UP is known some 20 ms before the workers are told.
            eventually(lambda: is_served(port), within_s=10, reason="probes open with a header, too")
            for _ in range(5):
                answer, name = asked(port)
                assert answer == f"{name[0]} {name[1]} {port}"
                line = lb.session_line(name)
                assert (line["peer"], line["reason"]) == (None, "done")


def test_lb_behind_nginx_knows_the_client(folder: Path) -> None:
    needs("nginx")
    port = free_port()
    with (
        endpoint("echo", "a", folder) as a,
        running_lb(one_pool(port, {"a": a.port}, listener={"accept_proxy": TRUSTED}), folder) as lb,
        sending_nginx(folder, port) as nginx,
    ):
        for _ in range(5):
            with connect(nginx) as client:
                assert echoes(client)
                name = client.getsockname()
            line = lb.session_line(name)
            assert (line["bytes_in"], line["bytes_out"], line["reason"]) == (4, 4, "done")
            assert line["peer"] is not None and line["peer"] != line["client"]


def test_lb_behind_lb_knows_the_client_and_nginx_behind_both_does(folder: Path) -> None:
    needs("nginx")
    outer_port, inner_port = free_port(), free_port()
    inner_folder, outer_folder = folder / "inner", folder / "outer"
    inner_folder.mkdir()
    outer_folder.mkdir()
    with telling_nginx(folder) as web:
        inner_text = one_pool(
            inner_port, {"a": web}, listener={"accept_proxy": TRUSTED}, pool={"send_proxy": "v1"}
        )
        outer_text = one_pool(outer_port, {"inner": inner_port}, pool={"send_proxy": "v2"})
        with running_lb(inner_text, inner_folder) as inner, running_lb(outer_text, outer_folder) as outer:
            answer, name = asked(outer_port)
            assert answer == f"{name[0]} {name[1]} {outer_port}"
            assert inner.session_line(name)["peer"] == outer.session_line(name)["upstream"]


def test_listener_serves_those_with_a_header_and_refuses_those_without(folder: Path) -> None:
    trusting, wary = free_port(), free_port()
    with endpoint("echo", "a", folder) as a:
        text = configuration(
            listeners={
                "trusting": {"bind": f"127.0.0.1:{trusting}", "pool": "web", "accept_proxy": TRUSTED},
                "wary": {"bind": f"127.0.0.1:{wary}", "pool": "web", "accept_proxy": NOBODY},
            },
            pools={"web": {"endpoints": [{"name": "a", "address": f"127.0.0.1:{a.port}"}]}},
        )
        headers = [
            f(("192.0.2.1", 5), ("192.0.2.2", 6)) for f in (theirs_v1, lambda c, d: theirs_v2(c, d, {}))
        ]
        with running_lb(text, folder) as lb:
            for header in headers:
                with connect(trusting) as client:
                    client.sendall(header)
                    assert echoes(client)
                with connect(wary) as client:
                    client.sendall(header)
                    assert closed(client, within_s=5) == "reset"
            with connect(trusting) as client:
                client.sendall(b"ping")
                assert closed(client, within_s=5) == "reset"
            with connect(wary) as client:
                assert echoes(client)
            lines = lb.whole_access()
            assert sorted((line["listener"], line["reason"]) for line in lines) == sorted(
                [("trusting", "done")] * 2
                + [("wary", "bad_proxy_header")] * 2
                + [("trusting", "bad_proxy_header"), ("wary", "done")]
            )
            refused = lb.metrics().sum("lb_listener_refused_total", reason="bad_proxy_header")
            assert refused == 3


def test_server_that_speaks_first_late_is_heard_where_headers_are_forbidden(
    folder: Path, scale: Scale
) -> None:
    """Nobody waits for the client's bytes: the routing deadline has long passed when the server speaks."""
    port = free_port()
    silence_s = 3.0 if scale.full else 0.3
    with acceptor() as one:
        listener = {"accept_proxy": NOBODY, "timeouts": {"routing": "100ms"}}
        with running_lb(one_pool(port, {"a": one.port}, listener=listener), folder) as lb:
            session = one.session(port)
            throughout(
                lambda: lb.metrics().sum("lb_listener_sessions_open") == 1,
                for_s=silence_s,
                reason="the session stays open",
            )
            session.upstream.sendall(b"220 ready\r\n")
            assert read_exactly(session.client, 11) == b"220 ready\r\n"
            assert lb.access() == []


def test_opening_that_does_not_come_ends_at_the_routing_deadline(folder: Path) -> None:
    port = free_port()
    listener = {"accept_proxy": TRUSTED, "timeouts": {"routing": "200ms"}}
    with (
        endpoint("echo", "a", folder) as a,
        running_lb(one_pool(port, {"a": a.port}, listener=listener), folder) as lb,
        connect(port) as client,
    ):
        client.sendall(b"PROXY TCP4 ")
        assert closed(client, within_s=5) == "reset"
        line = lb.session_line(client.getsockname())
        assert line["reason"] == "routing_timeout" and line["duration_ms"] >= 199
