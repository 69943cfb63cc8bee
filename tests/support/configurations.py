"""Configurations for tests of the brain, in a word each: `config(pool("web", "a b"))`."""

from __future__ import annotations

from typing import Any

from lb.model.address import Address
from lb.model.check import Check, ProbeResult
from lb.model.config import Config
from lb.model.endpoint import Endpoint, EndpointKey
from lb.model.listener import Listener
from lb.model.pool import Pool

STEADY = Check(jitter_percent=0)
PASSED = ProbeResult(True, "connected")
FAILED = ProbeResult(False, "connection refused")


def config(*pools: Pool, listeners: tuple[Listener, ...] | None = None) -> Config:
    """Each pool has a listener of its own name, unless they are given."""
    if listeners is None:
        listeners = tuple(listener(pool.name, port=8000 + index) for index, pool in enumerate(pools))
    return Config(listeners=listeners, pools=pools)


def listener(name: str, *, pool: str | None = None, port: int = 8000) -> Listener:
    return Listener(name, (Address("127.0.0.1", port),), pool or name)


def pool(name: str, endpoints: str | tuple[Endpoint, ...], **rest: Any) -> Pool:
    """`endpoints`: names, or endpoints."""
    if isinstance(endpoints, str):
        endpoints = tuple(endpoint(each) for each in endpoints.split())
    return Pool(name, endpoints, **rest)


def endpoint(name: str, *, host: str | None = None, **rest: Any) -> Endpoint:
    """One name always has the same address, unless it is given."""
    return Endpoint(name, address(name) if host is None else Address(host, 80), **rest)


def address(name: str) -> Address:
    number = int.from_bytes(name.encode(), "big")
    return Address(f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", 80)


def key(text: str) -> EndpointKey:
    """`web/a`"""
    return EndpointKey(*text.split("/"))
