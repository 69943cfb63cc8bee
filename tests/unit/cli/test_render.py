"""Words and tables for people."""

import pytest

from lb.cli.render import Sheet, duration, plain, show, size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0s"),
        (0.4, "0s"),
        (12.4, "12s"),
        (59.6, "1m"),
        (185, "3m 5s"),
        (3600, "1h"),
        (3660, "1h 1m"),
        (86400 * 9 + 3 * 3600 + 59, "9d 3h"),
        (86400 + 59, "1d"),
    ],
)
def test_duration_has_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (20 << 30, "20 GiB"),
        (3 << 40, "3.0 TiB"),
        (5000 << 40, "5000 TiB"),
    ],
)
def test_size_is_in_binary_units(count: int, text: str) -> None:
    assert size(count) == text


def test_plain_table_aligns_words_left_and_numbers_right() -> None:
    sheet = Sheet(("NAME", "COUNT>"), [("a", "1"), ("longer", "1000")])
    assert plain(sheet) == [
        "NAME    COUNT",
        "a           1",
        "longer   1000",
    ]


def test_plain_table_without_rows_is_its_headers() -> None:
    assert plain(Sheet(("NAME", "COUNT>"), [])) == ["NAME  COUNT"]


def test_table_in_a_pipe_has_no_escape_sequences(capsys: pytest.CaptureFixture[str]) -> None:
    show([Sheet(("STATE",), [("DOWN 12s",)])])
    assert capsys.readouterr().out == "\nSTATE\nDOWN 12s\n"


@pytest.mark.parametrize(("no_color", "coloured"), [(None, True), ("1", False)])
def test_table_on_a_terminal_is_coloured_unless_it_is_unwanted(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    no_color: str | None,
    coloured: bool,
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", no_color)
    show([Sheet(("STATE",), [("DOWN 12s",)])])
    out = capsys.readouterr().out
    assert "DOWN 12s" in out
    assert ("31m" in out) is coloured
