"""The log: one line per record, on its way to stderr through a bounded queue and one thread.

Nobody who logs ever waits: a full queue drops the line and counts it. What a client or an endpoint may have
put into a line is escaped, so that it can neither start a line of its own nor command a terminal.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import select
import threading
import time
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from typing import Any

import structlog
from aiohttp.http_exceptions import HttpProcessingError

from lb.model.record import Record

LINES_MAX = 10_000
VALUE_CHARS_MAX = 2_000

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
COLOURS = {"debug": "\x1b[2m", "info": "\x1b[32m", "warning": "\x1b[33m", "error": "\x1b[31m"}
PLAIN, BOLD = "\x1b[0m", "\x1b[1m"

BARE = re.compile(r'[^\s"=\\]+')

Facts = MutableMapping[str, Any]


class Log:
    """`level` is the lowest that is shown; `format` is `text` or `json`. `fd` stays its owner's."""

    def __init__(self, level: str = "info", format: str = "text", fd: int = 2) -> None:
        self._writer = Writer(fd)
        self._fd = fd
        self.configure(level, format)

    def configure(self, level: str, format: str) -> None:
        """May be called again, at a reload."""
        colours = format == "text" and _wants_colours(self._fd)
        self._logger = structlog.wrap_logger(
            self._writer,
            processors=[_stamped, _json_line if format == "json" else TextLine(colours)],
            wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
            cache_logger_on_first_use=True,
        )

    def emit(self, record: Record) -> None:
        self._logger.log(LEVELS[record.level], record.event, facts=record.facts)

    def capture_libraries(self) -> None:
        """What libraries say at `warning` or above (aiohttp, asyncio, `warnings`) stands here from now on."""
        logging.captureWarnings(True)
        logging.basicConfig(level=logging.WARNING, handlers=[_LibraryHandler(self)], force=True)

    @property
    def dropped_total(self) -> int:
        return self._writer.dropped_total

    def stop(self, timeout_s: float) -> bool:
        """Writes what is queued; False if that did not work out in time. Later lines are dropped."""
        return self._writer.stop(timeout_s)


class Writer:
    """The thread and its queue; to structlog, the logger that gets the finished lines."""

    def __init__(self, fd: int, lines_max: int = LINES_MAX) -> None:
        self._fd = fd
        self._lines: queue.Queue[str | None] = queue.Queue(lines_max)
        self._stopped = False
        self.dropped_total = 0
        # A daemon: a reader that is stuck for ever must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def msg(self, line: str) -> None:
        if self._stopped:
            self.dropped_total += 1
            return
        try:
            self._lines.put_nowait(line)
        except queue.Full:
            self.dropped_total += 1

    debug = info = warning = error = msg

    def stop(self, timeout_s: float) -> bool:
        deadline_s = time.monotonic() + timeout_s
        self._stopped = True
        try:
            self._lines.put(None, timeout=timeout_s)
        except queue.Full:
            return False
        self._thread.join(max(0.0, deadline_s - time.monotonic()))
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (line := self._lines.get()) is not None:
            try:
                self._write((line + "\n").encode("utf-8", "backslashreplace"))
            except OSError:  # nobody reads any more, or the disk is full: this may pass
                self.dropped_total += 1

    def _write(self, text: bytes) -> None:
        while text:
            try:
                text = text[os.write(self._fd, text) :]
            except BlockingIOError:  # whoever shares the descriptor with us may have made it so
                poll = select.poll()
                poll.register(self._fd, select.POLLOUT)
                poll.poll()


class TextLine:
    """`2026-11-24T20:00:00.123Z warning endpoint_changed pool=web from=UP evidence="connect: refused"`"""

    def __init__(self, colours: bool) -> None:
        self._colours = colours

    def __call__(self, _logger: object, _method: str, line: Facts) -> str:
        when, level, event = line.pop("time"), line.pop("level"), line.pop("event")
        facts = [f"{key}={_text(value)}" for key, value in line.items()]
        if self._colours:
            level, event = f"{COLOURS[level]}{level}{PLAIN}", f"{BOLD}{event}{PLAIN}"
        return " ".join([when, level, event, *facts])


class _LibraryHandler(logging.Handler):
    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # the words and the values do not fit: a defect of the library
            message = f"{record.msg!r} {record.args!r}"
        facts = {"logger": record.name, "message": message}
        if record.exc_info and isinstance(record.exc_info[1], HttpProcessingError):
            # Somebody spoke no HTTP to the admin port, and was answered so: nothing of ours failed.
            self._log.emit(Record("request_malformed", "debug", {"why": str(record.exc_info[1].message)}))
            return
        if record.exc_info:
            facts["exception"] = logging.Formatter().formatException(record.exc_info)
        level = "error" if record.levelno >= logging.ERROR else "warning"
        self._log.emit(Record("library_said", level, facts))


def _stamped(_logger: object, level: str, line: Facts) -> Facts:
    """Ours first, in a fixed order; a fact of the same name does not replace it."""
    facts: Mapping[str, Any] = line["facts"]
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    ours = {"time": now, "level": level, "event": line["event"]}
    return {**ours, **{key: _capped(value) for key, value in facts.items() if key not in ours}}


def _capped(value: object) -> object:
    if isinstance(value, str) and len(value) > VALUE_CHARS_MAX:
        return f"{value[:VALUE_CHARS_MAX]}... ({len(value)} characters)"
    return value


def _json_line(_logger: object, _method: str, line: Facts) -> str:
    return json.dumps(line, default=str, separators=(",", ":"))


def _text(value: object) -> str:
    """Bare where that is unambiguous, else as JSON; not a character that a terminal would obey."""
    if not isinstance(value, str):
        return json.dumps(value, default=str, separators=(",", ":"))
    if not value.isprintable():
        return json.dumps(value)
    return value if BARE.fullmatch(value) else json.dumps(value, ensure_ascii=False)


def _wants_colours(fd: int) -> bool:
    return os.isatty(fd) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
