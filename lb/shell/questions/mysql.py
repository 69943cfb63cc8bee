"""MySQL and MariaDB, by PyMySQL: a login, which they count as an error when it is left half done; whether it
may be written to, and how far it is behind where the user may ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pymysql
import pymysql.cursors

from lb.model.check import MysqlLogin, Role
from lb.shell.questions.answer import Failed, Passed, quoted
from lb.shell.questions.blocking import Line

LAG_COLUMNS = ("Seconds_Behind_Source", "Seconds_Behind_Master")


def ask(line: Line, login: MysqlLogin, timeout_s: float) -> Passed:
    """The library sets its own timeouts on the socket."""
    connection: Any = pymysql.Connection(
        host=line.host,
        user=login.user,
        password=login.password or "",
        database=login.database,
        ssl=line.context,
        ssl_disabled=line.context is None,
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
        write_timeout=timeout_s,
        program_name="lb-check",
        defer_connect=True,
    )
    try:
        connection.connect(line.sock)
        with connection.cursor(pymysql.cursors.DictCursor) as cursor:
            cursor.execute("SELECT @@global.read_only AS read_only")
            role = Role.REPLICA if cursor.fetchone()["read_only"] else Role.PRIMARY
            lag_s = lag_of(cursor) if role is Role.REPLICA else None
    except pymysql.MySQLError as error:
        raise Failed(said(error)) from error
    finally:
        with suppress(pymysql.MySQLError):  # it is closed already
            connection.close()
    return Passed(role.value, role, lag_s)


def lag_of(cursor: Any) -> float | None:
    """None: it does not replicate, has lost its source, or the user may not ask (REPLICA MONITOR)."""
    try:
        cursor.execute("SHOW REPLICA STATUS")
    except pymysql.MySQLError:
        return None
    rows: Sequence[dict[str, Any]] = cursor.fetchall()
    lags = [row[column] for row in rows for column in LAG_COLUMNS if row.get(column) is not None]
    return float(max(lags)) if lags else None


def said(error: Exception) -> str:
    if isinstance(error.__cause__ or error.__context__, OSError):
        return f"closed: {error.__cause__ or error.__context__}"
    if len(error.args) == 2:
        number, text = error.args
        return f"answered {quoted(f'{number} {text}'.encode())}"
    return "not MySQL"
