"""A question that a blocking library asks, in a thread of its own, over a socket that the probe connected.

There are as many threads as such probes run, one per endpoint at most. A probe whose time is up shuts its
socket down, which ends whatever the thread waits for; nobody waits for the thread.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from lb.model.address import Address, SocketAddress
from lb.shell.questions.answer import Failed, Passed


@dataclass(frozen=True, slots=True)
class Line:
    """What a library gets: a connected socket with a timeout, and what TLS takes. `host` is the name to ask
    for and to verify; `context` None: no TLS."""

    sock: socket.socket
    host: str
    context: ssl.SSLContext | None


def host_of(sni: str | None, address: SocketAddress) -> str:
    return sni or (address.host if isinstance(address, Address) else "localhost")


async def asked(line: Line, ask: Callable[[Line], Passed], protocol: str) -> Passed:
    """What `ask` returns, or raises. The socket is closed by then, unless the asker was cancelled: then it
    soon is."""
    loop = asyncio.get_running_loop()
    same = socket.socket(fileno=os.dup(line.sock.fileno()))  # TLS takes the other one for itself
    answer: asyncio.Future[Passed] = loop.create_future()

    def settle(passed: Passed | None, error: Exception | None) -> None:
        if answer.done():
            return
        if passed is not None:
            answer.set_result(passed)
        else:
            answer.set_exception(error or AssertionError("neither an answer nor an error"))

    def run() -> None:
        passed: Passed | None = None
        failure: Exception | None = None
        try:
            passed = ask(line)
        except (OSError, Failed) as error:
            failure = error
        except Exception:  # whatever a library says of bytes that are none of its protocol
            failure = Failed(f"not {protocol}")
        finally:
            line.sock.close()
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, passed, failure)

    threading.Thread(target=run, name="lb-probe", daemon=True).start()
    try:
        return await answer
    except asyncio.CancelledError:
        with suppress(OSError):  # the endpoint was first
            same.shutdown(socket.SHUT_RDWR)
        raise
    finally:
        same.close()
