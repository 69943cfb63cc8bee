"""Why something changed, and why a session ended: both are closed lists."""

from __future__ import annotations

from enum import Enum


class Cause(Enum):
    """Stands on every change of an endpoint's state."""

    PROBE = "PROBE"
    OPERATOR = "OPERATOR"
    CONFIG = "CONFIG"


class Reason(Enum):
    """How a session ended: `reason` of its access-log line and of lb_sessions_closed_total.

    The data path numbers them in this order (ext/board.pxd); lb/shell/datapath.py refuses to load otherwise.
    """

    DONE = "done"
    CLIENT_RESET = "client_reset"
    ENDPOINT_RESET = "endpoint_reset"
    CONNECT_FAILED = "connect_failed"
    NO_ENDPOINT = "no_endpoint"
    REFUSED_LIMIT = "refused_limit"
    IDLE_TIMEOUT = "idle_timeout"
    HALF_CLOSE_TIMEOUT = "half_close_timeout"
    DRAINED = "drained"
    ENDPOINT_DOWN = "endpoint_down"
    OPERATOR = "operator"
    SHUTDOWN = "shutdown"
    LB_ERROR = "lb_error"
