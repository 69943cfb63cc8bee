"""Why an address cannot be listened to, in words that say what to do about it."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from lb.model.address import Address, SocketAddress

SUGGESTIONS = {
    errno.EADDRINUSE: "another program listens there: see `ss -ltnp 'sport = :{address.port}'`",
    errno.EACCES: "ports below 1024 need root or CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "no interface has this address: see `ip address`, or set tcp.freebind",
    errno.EAFNOSUPPORT: "this machine has IPv6 switched off",
    errno.EMFILE: "too few descriptors: raise the limit (`ulimit -n`, LimitNOFILE=)",
}
SUGGESTIONS_FOR_PATHS = {
    errno.EADDRINUSE: "another program listens there: see `ss -lxp src {address.path}`",
    errno.EACCES: "lb's user may not make files in that folder: choose one that it owns",
    errno.ENOENT: "the folder does not exist: create it",
    errno.EMFILE: SUGGESTIONS[errno.EMFILE],
}


class SocketRefused(OSError):
    """What a configuration wants of a socket and this machine does not give."""

    def __init__(self, reason: str, suggestion: str | None = None) -> None:
        super().__init__(reason)
        self.reason, self.suggestion = reason, suggestion


@dataclass(frozen=True, slots=True)
class BindProblem:
    """One address that cannot be listened to, and `more` of the same listener for the same reason.

    `suggestion` says what to do about it.
    """

    listener: str
    address: SocketAddress
    reason: str
    suggestion: str | None = None
    more: int = 0

    def __str__(self) -> str:
        others = f" and {self.more} more" if self.more else ""
        text = f"listeners.{self.listener}: cannot listen on {self.address}{others}: {self.reason}"
        return f"{text}; {self.suggestion}" if self.suggestion else text


class BindError(Exception):
    """Nothing was changed. All the problems of one attempt at once."""

    def __init__(self, problems: Sequence[BindProblem]) -> None:
        self.problems = tuple(gathered(problems))
        super().__init__("\n".join(map(str, self.problems)))


def gathered(problems: Sequence[BindProblem]) -> Iterator[BindProblem]:
    """A range of ports that fails as one is told once."""
    found: dict[tuple[str, str], BindProblem] = {}
    for problem in problems:
        key = problem.listener, problem.reason
        first = found.get(key)
        found[key] = problem if first is None else replace(first, more=first.more + 1 + problem.more)
    yield from found.values()


@contextmanager
def noting(problems: list[BindProblem], listener: str, address: SocketAddress) -> Iterator[None]:
    """An OSError inside becomes a problem."""
    try:
        yield
    except SocketRefused as refused:
        problems.append(BindProblem(listener, address, refused.reason, refused.suggestion))
    except OSError as error:
        suggestions = SUGGESTIONS if isinstance(address, Address) else SUGGESTIONS_FOR_PATHS
        suggestion = suggestions.get(error.errno or 0)
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        text = suggestion.format(address=address) if suggestion else None
        problems.append(BindProblem(listener, address, reason, text))
