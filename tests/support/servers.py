"""Real servers as endpoints of checks: each on a free port of loopback, in a folder of its own.

A server is a Process: its family can be stopped (`signal`) and is ended with the test.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lb.model.address import Address
from tests.support.ports import free_port
from tests.support.process import Process, needs
from tests.support.waiting import answers, eventually

READY_WITHIN_S = 30.0
POSTGRES_USER = "postgres"


@dataclass
class Server:
    """`log`: where it writes what it has to complain about."""

    process: Process
    address: Address
    log: Path

    def complaints(self, *words: str) -> list[str]:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return [line for line in text.splitlines() if any(word in line for word in words)]


@contextmanager
def started(
    name: str,
    words: Sequence[str],
    folder: Path,
    port: int,
    *,
    user: str | None = None,
    log: Path | None = None,
    is_ready: Callable[[], object] | None = None,
) -> Iterator[Server]:
    process = Process(name, words, folder, user=user)
    server = Server(process, Address("127.0.0.1", port), log or process.err_path)
    try:
        eventually(
            lambda: not process.alive or answers(is_ready or (lambda: accepting(port))),
            within_s=READY_WITHIN_S,
            reason=f"{name} serves",
        )
        assert process.alive, process.tail()
        yield server
    finally:
        process.end()


def accepting(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 1.0):
        return True


def run(words: Sequence[str], user: str | None = None) -> None:
    prefix = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"] if user else []
    done = subprocess.run([*prefix, *words], capture_output=True, text=True, timeout=60, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr


# ---- Redis ------------------------------------------------------------------------------------------


@contextmanager
def redis(folder: Path, *options: str) -> Iterator[Server]:
    needs("redis-server")
    port = free_port()
    words = ["redis-server", "--port", str(port), "--save", "", "--dir", str(folder), *options]
    with started(f"redis-{port}", words, folder, port) as server:
        yield server


# ---- PostgreSQL -------------------------------------------------------------------------------------


class PostgresCluster:
    """Its tools stand in no PATH, and it will not run as root."""

    def __init__(self) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
        needs(*(str(found[-1] / name) if found else "postgres" for name in ("initdb", "postgres")))
        self.tools = found[-1]
        self.user = POSTGRES_USER if os.geteuid() == 0 else None
        self.folder = Path(tempfile.mkdtemp(prefix="lb-postgres-"))
        if self.user:
            shutil.chown(self.folder, self.user)

    def tool(self, name: str, *words: str) -> None:
        run([str(self.tools / name), *words], self.user)

    def give(self, *paths: Path) -> None:
        """To the user that the server runs as."""
        for path in paths:
            if self.user:
                shutil.chown(path, self.user)

    @contextmanager
    def serving(self, data: Path, **settings: str) -> Iterator[Server]:
        port, folder = free_port(), self.folder
        given = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": "",
            **settings,
        }
        words = [str(self.tools / "postgres"), "-D", str(data)]
        for key, value in given.items():
            words += ["-c", f"{key}={value}"]
        with started(f"postgres-{port}", words, folder, port, user=self.user) as server:
            eventually(
                lambda: server.complaints("ready to accept"), within_s=READY_WITHIN_S, reason="it is ready"
            )
            yield server

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def postgres_cluster() -> Iterator[tuple[PostgresCluster, Path]]:
    """With its data: users `postgres`, who is trusted, and `lb`, whose password is `secret`."""
    cluster = PostgresCluster()
    data = cluster.folder / "primary"
    try:
        cluster.tool("initdb", "-D", str(data), "-U", "postgres", "--auth", "trust", "--no-sync")
        rules = (data / "pg_hba.conf").read_text()
        only = "host all lb 127.0.0.1/32 scram-sha-256\n"
        (data / "pg_hba.conf").write_text(only + rules)
        yield cluster, data
    finally:
        cluster.close()


# ---- MariaDB ----------------------------------------------------------------------------------------


@contextmanager
def mariadb(folder: Path, *options: str) -> Iterator[Server]:
    """With the user `lb`, whose password is `secret`."""
    needs("mariadbd", "mariadb-install-db")
    port, data = free_port(), folder / "mariadb"
    socket_path = Path(tempfile.mkdtemp(prefix="lb-mariadb-")) / "s"
    user = ["--user=root"] if os.geteuid() == 0 else []
    install = [
        "mariadb-install-db",
        "--no-defaults",
        f"--datadir={data}",
        "--auth-root-authentication-method=normal",
    ]
    run([*install, "--skip-test-db", *user])
    init = folder / "init.sql"
    init.write_text("CREATE USER IF NOT EXISTS lb@'127.0.0.1' IDENTIFIED BY 'secret';\n")
    words = ["mariadbd", "--no-defaults", f"--datadir={data}", f"--socket={socket_path}", *user]
    words += ["--bind-address=127.0.0.1", f"--port={port}", f"--init-file={init}", "--skip-name-resolve"]
    words += ["--innodb-buffer-pool-size=8M", "--log-warnings=4", *options]
    try:
        with started("mariadb", words, folder, port) as server:
            yield server
    finally:
        shutil.rmtree(socket_path.parent, ignore_errors=True)


# ---- DNS --------------------------------------------------------------------------------------------


@contextmanager
def dnsmasq(folder: Path, *options: str) -> Iterator[Server]:
    needs("dnsmasq")
    port = free_port()
    words = ["dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null"]
    words += [f"--port={port}", "--listen-address=127.0.0.1", "--bind-interfaces", "--log-facility=-"]
    words += [
        f"--user={'root' if os.geteuid() == 0 else ''}",
        f"--pid-file={folder / 'dnsmasq.pid'}",
        *options,
    ]
    with started("dnsmasq", words, folder, port) as server:
        yield server
