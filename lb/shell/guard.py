"""Who may not ask: the web pages that an operator's browser has open.

The admin server has no password on loopback, and a browser on that machine reaches it on behalf of any page.
A page that posts a form is told by its Origin. A page whose name was rebound to 127.0.0.1 looks like ours,
but for the name in Host; so the API answers only to addresses and `localhost`. What monitoring polls (/live,
/ready, /metrics) answers to any name. A unix socket is out of a browser's reach.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

POLLED = frozenset({"/live", "/ready", "/metrics"})


def refusal(method: str, path: str, headers: Mapping[str, str]) -> str | None:
    """Why a request over TCP is refused, or None."""
    host = headers.get("Host", "")
    if path not in POLLED and not is_address(host):
        return f"{host!r} may be a name that another site gave to this machine"
    if method != "POST":
        return None
    origin = headers.get("Origin")
    if origin is not None and origin not in (f"http://{host}", f"https://{host}"):
        return f"a page of {origin!r} may not change anything here"
    if headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return "a page of another site may not change anything here"
    return None


def is_address(host: str) -> bool:
    """Whether the host of `host[:port]` is an IP address or `localhost`."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or bool(ipaddress.ip_address(name))
    except ValueError:
        return False
