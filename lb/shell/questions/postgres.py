"""PostgreSQL, by pg8000: a login, and whether it recovers, which is what a standby does.

Without a password the login ends where one is asked for: it serves. A server that starts, shuts down or has
no connection left says so in an error.
"""

from __future__ import annotations

import struct
import sys
from typing import Any

import pg8000.exceptions
import pg8000.native

from lb.model.check import PostgresLogin, Role
from lb.shell.questions.answer import Failed, Passed, quoted
from lb.shell.questions.blocking import Line

LOGGED_IN = struct.pack("!i", 0)
APPLICATION = "lb-check"
# A standby that has replayed all it received is not behind, however old its last transaction is.
STATE = """
    SELECT pg_is_in_recovery(),
        CASE WHEN NOT pg_is_in_recovery() THEN NULL
             WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0
             ELSE extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp()) END
"""


class _AsksForPasswordError(Exception):
    pass


class _Login(pg8000.native.Connection):  # type: ignore[misc] # untyped
    """One that ends where a password is asked for and there is none: without a word, as psql leaves to ask
    its user. A goodbye is no answer to that question, and the server would log that it is none."""

    def handle_AUTHENTICATION_REQUEST(self, data: bytes, context: Any) -> None:
        if self.password is None and data[:4] != LOGGED_IN:
            raise _AsksForPasswordError
        super().handle_AUTHENTICATION_REQUEST(data, context)

    def close(self) -> None:
        if isinstance(sys.exception(), _AsksForPasswordError):
            self._sock.close()
            self._usock.close()
        else:
            super().close()


def ask(line: Line, login: PostgresLogin) -> Passed:
    try:
        [[recovers, lag_s]] = state(line, login)
    except _AsksForPasswordError:
        return Passed("asks for a password")
    except pg8000.exceptions.DatabaseError as error:
        raise Failed(f"answered {said(error)}") from error
    except pg8000.exceptions.InterfaceError as error:
        raise Failed(broken(error)) from error
    role = Role.REPLICA if recovers else Role.PRIMARY
    return Passed(role.value, role, None if lag_s is None else float(lag_s))


def state(line: Line, login: PostgresLogin) -> Any:
    connection = _Login(
        login.user,
        host=line.host,
        database=login.database,
        password=login.password,
        ssl_context=line.context or False,
        application_name=APPLICATION,
        sock=line.sock,
    )
    try:
        return connection.run(STATE)
    finally:
        connection.close()


def said(error: pg8000.exceptions.DatabaseError) -> str:
    """SQLSTATE and message."""
    facts = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
    return quoted(f"{facts.get('C', '?')} {facts.get('M', error)}".encode())


def broken(error: pg8000.exceptions.InterfaceError) -> str:
    """Without its cause, the library's own words."""
    cause = error.__cause__
    return f"closed: {cause}" if cause else quoted(str(error).encode())
