"""A real nginx as an endpoint: its own prefix, its own process group, one page with its name."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import free_port
from tests.support.process import Process, find
from tests.support.waiting import eventually

STARTED_WITHIN_S = 10.0
CONFIG = """\
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 8192;
pid {prefix}/nginx.pid;
error_log stderr error;
events {{ worker_connections 4096; }}
http {{
    access_log off;
    client_body_temp_path {prefix}/body;
    proxy_temp_path {prefix}/proxy;
    fastcgi_temp_path {prefix}/fastcgi;
    uwsgi_temp_path {prefix}/uwsgi;
    scgi_temp_path {prefix}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=1024;
        root {prefix}/pages;
    }}
}}
"""


class Nginx:
    """Serves `name` at `/`. `kill` takes the master and its worker at once, as a crash does."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.port = name, free_port()
        self.prefix = folder / f"nginx-{name}"
        (self.prefix / "pages").mkdir(parents=True)
        (self.prefix / "pages" / "index.html").write_text(f"{name}\n")
        # As root, nginx gives its worker to `nobody`, who cannot read a private folder.
        user = "user root;" if os.geteuid() == 0 else ""
        self.config = self.prefix / "nginx.conf"
        self.config.write_text(CONFIG.format(user=user, prefix=self.prefix, port=self.port))
        self.process = self._started()

    def _started(self) -> Process:
        words = [find("nginx") or "nginx", "-p", str(self.prefix), "-c", str(self.config), "-e", "stderr"]
        process = Process(f"nginx-{self.name}", words, self.prefix)
        try:
            eventually(
                lambda: (self.prefix / "nginx.pid").exists() and len(process.family()) >= 2,
                within_s=STARTED_WITHIN_S,
                reason=f"nginx {self.name} serves\n{process.tail()}",
            )
        except BaseException:
            process.end()
            raise
        return process

    def kill(self) -> None:
        self.process.signal_group(signal.SIGKILL)
        self.process.end()
        (self.prefix / "nginx.pid").unlink(missing_ok=True)

    def start_again(self) -> None:
        self.process = self._started()


@contextmanager
def nginx(name: str, folder: Path) -> Iterator[Nginx]:
    started = Nginx(name, folder)
    try:
        yield started
    finally:
        started.process.end()
