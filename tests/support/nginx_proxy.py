"""A real nginx that speaks the PROXY protocol: a web server that expects a header, a proxy that sends one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.process import Process, find
from tests.support.waiting import eventually

STARTED_WITHIN_S = 10.0
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
HEAD = """\
{module}
{user}
daemon off;
worker_processes 1;
pid {prefix}/nginx.pid;
error_log stderr error;
events {{ worker_connections 256; }}
"""
TELLING = """\
http {{
    access_log off;
    client_body_temp_path {prefix}/body;
    proxy_temp_path {prefix}/proxy;
    fastcgi_temp_path {prefix}/fastcgi;
    uwsgi_temp_path {prefix}/uwsgi;
    scgi_temp_path {prefix}/scgi;
    server {{
        listen 127.0.0.1:{port} proxy_protocol;
        location / {{
            return 200 "$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_port";
        }}
    }}
}}
"""
SENDING = """\
stream {{
    server {{
        listen 127.0.0.1:{port};
        proxy_pass 127.0.0.1:{target};
        proxy_protocol on;
    }}
}}
"""


@contextmanager
def telling_nginx(folder: Path) -> Iterator[int]:
    """Its port. It answers each request with the client's address and the ports that the header names."""
    port = free_port()
    with _running(folder / "nginx-telling", TELLING, port=port):
        yield port


@contextmanager
def sending_nginx(folder: Path, target: int) -> Iterator[int]:
    """Its port. What comes there goes to `target`, behind a header of version 1."""
    if not STREAM_MODULE.exists():
        pytest.skip(f"{STREAM_MODULE} is not installed; apt-get install libnginx-mod-stream")
    port = free_port()
    with _running(folder / "nginx-sending", SENDING, port=port, target=target, module=STREAM_MODULE):
        yield port


@contextmanager
def _running(prefix: Path, text: str, *, module: Path | None = None, **values: int) -> Iterator[None]:
    prefix.mkdir()
    config = prefix / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""  # else its worker could not read a private folder
    load = f"load_module {module};" if module else ""
    config.write_text((HEAD + text).format(prefix=prefix, user=user, module=load, **values))
    words = [find("nginx") or "nginx", "-p", str(prefix), "-c", str(config), "-e", "stderr"]
    process = Process(prefix.name, words, prefix)
    try:
        eventually(
            lambda: (prefix / "nginx.pid").exists() and len(process.family()) >= 2,
            within_s=STARTED_WITHIN_S,
            reason=f"nginx serves\n{process.tail()}",
        )
        yield
    finally:
        process.end()
