"""Why something changed, and why a session ended: both are closed lists."""

from __future__ import annotations

from enum import Enum


class Cause(Enum):
    """Stands on every change of an endpoint's state."""

    PROBE = "PROBE"
    OPERATOR = "OPERATOR"
    CONFIG = "CONFIG"
    AGENT = "AGENT"
    OUTLIER = "OUTLIER"
    SLOW_START = "SLOW_START"


class Reason(Enum):
    """How a session ended: `reason` of its access-log line and of lb_sessions_closed_total.

    The data path numbers them in this order (ext/board.pxd); lb/shell/datapath.py refuses to load otherwise.
    """

    DONE = "done"
    CLIENT_RESET = "client_reset"
    ENDPOINT_RESET = "endpoint_reset"
    CLIENT_VANISHED = "client_vanished"
    ENDPOINT_VANISHED = "endpoint_vanished"
    CONNECT_FAILED = "connect_failed"
    NO_ENDPOINT = "no_endpoint"
    REFUSED_ACL = "refused_acl"
    REFUSED_RATE = "refused_rate"
    REFUSED_LIMIT = "refused_limit"
    QUEUE_TIMEOUT = "queue_timeout"
    BAD_PROXY_HEADER = "bad_proxy_header"
    ROUTING_TIMEOUT = "routing_timeout"
    IDLE_TIMEOUT = "idle_timeout"
    HALF_CLOSE_TIMEOUT = "half_close_timeout"
    LIFETIME = "lifetime"
    DRAINED = "drained"
    ENDPOINT_DOWN = "endpoint_down"
    OPERATOR = "operator"
    SHUTDOWN = "shutdown"
    LB_ERROR = "lb_error"
    WORKER_LOST = "worker_lost"  # counted by the supervisor; there is no line for it
