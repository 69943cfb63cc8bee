"""MariaDB: one that is written to, and one that is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lb.model.check import MysqlLogin, ProbeResult, Role, TlsRule
from tests.support.probing import judged_when_hung, probed
from tests.support.servers import Server, mariadb

LB = MysqlLogin("lb", "secret")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with mariadb(tmp_path_factory.mktemp("mariadb")) as made:
        yield made


def test_server_that_is_written_to_is_a_primary(server: Server) -> None:
    result = probed(LB, server.address)
    assert (result.ok, result.detail, result.role, result.lag_s) == (True, "primary", Role.PRIMARY, None)


def test_refused_login_fails_in_the_words_of_the_server(server: Server) -> None:
    result = probed(MysqlLogin("lb", "wrong"), server.address)
    assert not result.ok
    assert result.detail.startswith("answered 1045 Access denied for user 'lb'@"), result.detail


def test_unknown_database_fails(server: Server) -> None:
    result = probed(MysqlLogin("lb", "secret", "gone"), server.address)
    assert not result.ok
    assert result.detail.startswith("answered 1044 Access denied for user 'lb'@"), result.detail


def test_probes_leave_no_trace_in_its_log(server: Server) -> None:
    """It logs and counts clients that leave half-way ("Aborted connection"), and blocks their host."""
    before = server.log.read_text()
    for _ in range(5):
        assert probed(LB, server.address).ok
    assert server.log.read_text() == before


def test_server_without_tls_fails_a_check_that_wants_it(server: Server) -> None:
    result = probed(LB, server.address, tls=TlsRule())
    assert not result.ok
    assert "SSL" in result.detail, result.detail


def test_server_that_hangs_fails_when_the_time_is_up(server: Server) -> None:
    result = judged_when_hung(LB, server.process, server.address)
    assert result == ProbeResult(False, "timeout after 0.5 s (connected, no answer)")


def test_one_that_is_not_written_to_is_a_replica_and_one_that_is_gone_fails(tmp_path: Path) -> None:
    with mariadb(tmp_path, "--read-only=1") as replica:
        result = probed(LB, replica.address)
        assert (result.ok, result.detail, result.role, result.lag_s) == (True, "replica", Role.REPLICA, None)
        address = replica.address
    assert probed(LB, address) == ProbeResult(False, "connect: refused")
