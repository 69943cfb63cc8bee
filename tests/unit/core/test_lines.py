"""The table of a snapshot while it is written: the sum of the changes, not their history."""

from lb.core.lines import Lines


def test_lines_put_beyond_the_end_leave_free_ids_between() -> None:
    lines: Lines[str] = Lines()
    lines.put(2, "c")
    assert lines.sealed() == (None, None, "c")


def test_lines_taken_from_the_end_leave_no_trace() -> None:
    lines: Lines[str] = Lines()
    for number, line in enumerate("abc"):
        lines.put(number, line)
    lines.take(1)
    lines.take(2)
    assert lines.sealed() == ("a",)


def test_lines_put_as_they_are_touch_nothing() -> None:
    lines: Lines[str] = Lines()
    lines.put(0, "a")
    lines.sealed()
    lines.put(0, "a")
    assert not lines.is_touched
    lines.put(0, "b")
    assert lines.is_touched
