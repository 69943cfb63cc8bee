"""PostgreSQL: a primary, its standby, and what either says when it cannot serve."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lb.model.check import PostgresLogin, ProbeResult, Role, TlsRule
from tests.support.certificates import Certificates
from tests.support.probing import judged_when_hung, probed
from tests.support.servers import PostgresCluster, Server, postgres_cluster
from tests.support.waiting import eventually

OWNER = PostgresLogin("postgres")
NEEDS_PASSWORD = PostgresLogin("lb", database="postgres")


@pytest.fixture(scope="module")
def cluster() -> Iterator[tuple[PostgresCluster, Path]]:
    with postgres_cluster() as made:
        yield made


@pytest.fixture(scope="module")
def primary(cluster: tuple[PostgresCluster, Path]) -> Iterator[Server]:
    tools, data = cluster
    with tools.serving(data) as server:
        words = ["-h", "127.0.0.1", "-p", str(server.address.port), "-U", "postgres"]
        tools.tool("psql", *words, "-c", "CREATE ROLE lb LOGIN PASSWORD 'secret'")
        yield server


def test_primary_says_that_it_is_one(primary: Server) -> None:
    result = probed(OWNER, primary.address)
    assert (result.ok, result.detail, result.role, result.lag_s) == (True, "primary", Role.PRIMARY, None)


def test_who_has_no_password_goes_as_far_as_the_question_for_it(primary: Server) -> None:
    assert probed(NEEDS_PASSWORD, primary.address) == ProbeResult(True, "asks for a password")


def test_password_is_given(primary: Server) -> None:
    login = PostgresLogin("lb", "secret", "postgres")
    assert probed(login, primary.address).role is Role.PRIMARY


@pytest.mark.parametrize(
    ("login", "detail"),
    [
        (
            PostgresLogin("lb", "wrong", "postgres"),
            'answered 28P01 password authentication failed for user "lb"',
        ),
        (PostgresLogin("nobody"), 'answered 28000 role "nobody" does not exist'),
        (PostgresLogin("postgres", database="gone"), 'answered 3D000 database "gone" does not exist'),
    ],
)
def test_refused_login_fails_in_the_words_of_the_server(
    primary: Server, login: PostgresLogin, detail: str
) -> None:
    assert probed(login, primary.address) == ProbeResult(False, detail)


def test_probes_leave_no_trace_in_its_log(primary: Server) -> None:
    before = primary.log.read_text()
    for login in (OWNER, NEEDS_PASSWORD, PostgresLogin("lb", "secret", "postgres")):
        assert probed(login, primary.address).ok
    assert primary.log.read_text() == before


def test_server_without_tls_fails_a_check_that_wants_it(primary: Server) -> None:
    result = probed(OWNER, primary.address, tls=TlsRule())
    assert result == ProbeResult(False, "Server refuses SSL")


def test_server_that_hangs_fails_when_the_time_is_up(primary: Server) -> None:
    """Its postmaster stands still: the kernel accepts, and nobody answers."""
    result = judged_when_hung(OWNER, primary.process, primary.address)
    assert result == ProbeResult(False, "timeout after 0.5 s (connected, no answer)")


def test_standby_says_that_it_is_one_and_how_far_behind(
    cluster: tuple[PostgresCluster, Path], primary: Server
) -> None:
    tools, data = cluster
    copy = data.with_name("standby")
    words = ["-h", "127.0.0.1", "-p", str(primary.address.port), "-U", "postgres"]
    tools.tool("pg_basebackup", *words, "-D", str(copy), "-R", "--no-sync", "-c", "fast")
    with tools.serving(copy) as standby:
        result = eventually(
            lambda: (found := probed(OWNER, standby.address)).lag_s == 0 and found,
            within_s=20.0,
            reason="the standby has caught up",
        )
        assert (result.ok, result.detail, result.role) == (True, "replica", Role.REPLICA)


def test_server_that_ends_fails(cluster: tuple[PostgresCluster, Path], certificates: Certificates) -> None:
    """Over TLS first; then it shuts down while a session is open, and at last it is gone."""
    tools, data = cluster
    tools.tool("initdb", "-D", str(data.with_name("other")), "-U", "postgres", "--auth", "trust", "--no-sync")
    certificate = certificates.authority.issue_cert("127.0.0.1", "db.test")
    key, chain = tools.folder / "server.key", tools.folder / "server.crt"
    certificate.private_key_pem.write_to_path(key)
    certificate.cert_chain_pems[0].write_to_path(chain)
    key.chmod(0o600)
    tools.give(key, chain)
    settings = {"ssl": "on", "ssl_cert_file": str(chain), "ssl_key_file": str(key)}
    trusted = str(certificates.trusted)
    with tools.serving(data.with_name("other"), **settings) as server:
        for rule in (TlsRule(), TlsRule(verify=trusted), TlsRule(sni="db.test", verify=trusted)):
            assert probed(OWNER, server.address, tls=rule).role is Role.PRIMARY
        result = probed(OWNER, server.address, tls=TlsRule(sni="other.test", verify=trusted))
        assert not result.ok
        assert result.detail.startswith("tls: certificate refused: Hostname mismatch"), result.detail
        server.process.signal(signal.SIGQUIT)
        server.process.wait(10.0, "it shuts down")
        assert probed(OWNER, server.address) == ProbeResult(False, "connect: refused")
