"""The log's lines, and what happens when nobody reads them."""

from __future__ import annotations

import json
import logging
import os
import re
import tty
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aiohttp.http_exceptions import BadHttpMessage

from lb.model.record import Record
from lb.shell.log import Log, Writer
from tests.support.waiting import eventually

CHANGED = Record(
    "endpoint_changed",
    "warning",
    {
        "pool": "web",
        "from": "UP",
        "to": "DOWN",
        "count": 3,
        "share": 0.5,
        "ok": False,
        "evidence": "connect: refused",
    },
)
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


def written(*records: Record, level: str = "info", format: str = "text") -> list[str]:
    """The lines that these records make."""
    reading, writing = os.pipe()
    log = Log(level, format, writing)
    for record in records:
        log.emit(record)
    assert log.stop(5.0)
    os.close(writing)
    with os.fdopen(reading, encoding="utf-8") as lines:
        return lines.read().splitlines()


@contextmanager
def full_pipe() -> Iterator[int]:
    """The writing end of a pipe that nobody reads and that has no room."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, b"x" * 65536)
    except BlockingIOError:
        os.set_blocking(writing, True)
    try:
        yield writing
    finally:
        os.close(reading)  # ends the writer that is stuck
        os.close(writing)


# ---- Lines ------------------------------------------------------------------------------------------


def test_text_line_has_time_level_event_and_facts() -> None:
    (line,) = written(CHANGED)
    assert re.fullmatch(
        TIME + " warning endpoint_changed pool=web from=UP to=DOWN count=3 share=0.5 ok=false "
        'evidence="connect: refused"',
        line,
    )


def test_json_line_is_one_object() -> None:
    (line,) = written(CHANGED, format="json")
    found = json.loads(line)
    assert re.fullmatch(TIME, found.pop("time"))
    assert found == {"level": "warning", "event": "endpoint_changed", **CHANGED.facts}


def test_lines_below_the_level_are_not_written() -> None:
    records = [Record(level, level) for level in ("debug", "info", "warning", "error")]
    assert [line.split()[1] for line in written(*records, level="warning")] == ["warning", "error"]


def test_level_and_format_can_be_changed_while_running() -> None:
    reading, writing = os.pipe()
    log = Log("error", "text", writing)
    log.emit(Record("hidden"))
    log.configure("debug", "json")
    log.emit(Record("shown", "debug"))
    assert log.stop(5.0)
    os.close(writing)
    with os.fdopen(reading) as lines:
        assert [json.loads(line)["event"] for line in lines] == ["shown"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("two\nlines", r'"two\nlines"'),
        ("\x1b[2J", r'"\u001b[2J"'),
        ("nul\x00", r'"nul\u0000"'),
        ("\u202ertl", r'"\u202ertl"'),
        ("\udcff", r'"\udcff"'),
        ('quote"', r'"quote\""'),
        ("a=b", '"a=b"'),
        ("", '""'),
        ("größe", "größe"),
        ("10.0.0.1:80", "10.0.0.1:80"),
        (None, "null"),
        (["a\n", 1], r'["a\n",1]'),
    ],
)
def test_text_value_can_neither_break_the_line_nor_command_a_terminal(value: object, shown: str) -> None:
    (line,) = written(Record("seen", facts={"value": value}))
    assert line.endswith(f" info seen value={shown}")


def test_json_value_cannot_break_the_line() -> None:
    (line,) = written(Record("seen", facts={"value": "a\n\x1b\u202e\udcff"}), format="json")
    assert json.loads(line)["value"] == "a\n\x1b\u202e\udcff"


def test_value_that_is_too_long_is_cut() -> None:
    (line,) = written(Record("seen", facts={"value": "x" * 5000}))
    assert line.endswith('x... (5000 characters)"')
    assert len(line) < 2200


def test_fact_cannot_replace_what_is_ours() -> None:
    (line,) = written(Record("seen", facts={"level": "error", "time": 0, "event": "other"}), format="json")
    found = json.loads(line)
    assert (found["level"], found["event"]) == ("info", "seen")


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_terminal_gets_colours_unless_they_are_not_wanted(
    no_color: str, coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setenv("TERM", "xterm")
    reading, terminal = os.openpty()
    tty.setraw(terminal)
    log = Log("info", "text", terminal)
    log.emit(CHANGED)
    assert log.stop(5.0)
    line = os.read(reading, 65536).decode()
    os.close(terminal)
    os.close(reading)
    assert ("\x1b[33mwarning\x1b[0m" in line) is coloured


# ---- Libraries ----------------------------------------------------------------------------------------


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)


def test_libraries_warn_through_the_same_lines(root_logger: logging.Logger) -> None:
    reading, writing = os.pipe()
    log = Log("info", "json", writing)
    log.capture_libraries()
    logging.getLogger("aiohttp.server").warning("bad request from %s", "a\nb")
    logging.getLogger("aiohttp.access").info("not shown")
    logging.getLogger("odd").warning("%d", "words")
    try:
        raise ValueError("oops")
    except ValueError:
        logging.getLogger("asyncio").exception("it failed")
    warnings.warn("old thing", DeprecationWarning, stacklevel=1)
    assert log.stop(5.0)
    os.close(writing)
    with os.fdopen(reading) as lines:
        first, odd, second, third = map(json.loads, lines)
    assert (first["event"], first["level"], first["logger"]) == ("library_said", "warning", "aiohttp.server")
    assert first["message"] == "bad request from a\nb"
    assert odd["message"] == "'%d' ('words',)"
    assert second["level"] == "error"
    assert "ValueError: oops" in second["exception"]
    assert "old thing" in third["message"]


def test_request_that_is_not_http_is_no_error_of_ours(root_logger: logging.Logger) -> None:
    reading, writing = os.pipe()
    log = Log("debug", "json", writing)
    log.capture_libraries()
    try:
        raise BadHttpMessage("Invalid method encountered")
    except BadHttpMessage:
        logging.getLogger("aiohttp.server").exception("Error handling request from 127.0.0.1")
    assert log.stop(5.0)
    os.close(writing)
    with os.fdopen(reading) as lines:
        told = [json.loads(line) for line in lines]
    assert [(one["event"], one["level"], one["why"]) for one in told] == [
        ("request_malformed", "debug", "Invalid method encountered")
    ]


# ---- Nobody reads ---------------------------------------------------------------------------------------


def test_log_whose_reader_is_stuck_drops_and_counts_and_never_waits() -> None:
    with full_pipe() as pipe:
        writer = Writer(pipe, lines_max=10)
        for number in range(100):
            writer.msg(str(number))
        assert 100 - 10 - 1 <= writer.dropped_total <= 100 - 10  # one may be in the thread's hand
        assert not writer.stop(0.05)


def test_log_whose_reader_has_gone_drops_and_counts() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    writer = Writer(writing)
    writer.msg("lost")
    assert writer.stop(5.0)
    assert writer.dropped_total == 1
    os.close(writing)


def test_log_writes_the_whole_line_to_a_descriptor_that_does_not_wait() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    os.set_blocking(reading, False)
    writer = Writer(writing)
    writer.msg("x" * 300_000)
    text = b""

    def all_read() -> bool:
        nonlocal text
        try:
            text += os.read(reading, 65536)
        except BlockingIOError:
            return False
        return text.endswith(b"\n")

    eventually(all_read, within_s=5.0, reason="the line ends")
    assert len(text) == 300_001
    assert writer.stop(5.0)
    os.close(reading)
    os.close(writing)


def test_log_that_was_stopped_drops_and_counts() -> None:
    reading, writing = os.pipe()
    log = Log("info", "text", writing)
    assert log.stop(5.0)
    log.emit(CHANGED)
    assert log.dropped_total == 1
    os.close(reading)
    os.close(writing)
