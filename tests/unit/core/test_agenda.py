"""What is due: each entry once, at the last time set, in the order of time."""

from hypothesis import given
from hypothesis import strategies as st

from lb.core.agenda import HEAP_SWEPT_MIN, Agenda, Entry, Need

A, B = Entry(Need.PROBE, 1), Entry(Need.PROBE, 2)


def test_agenda_due_gives_what_has_come_in_order_of_time() -> None:
    agenda = Agenda()
    agenda.set(A, 2.0)
    agenda.set(B, 1.0)
    agenda.set(Entry(Need.COUNT), 3.0)
    assert list(agenda.due(2.0)) == [B, A]
    assert agenda.next_s() == 3.0


def test_agenda_entry_moved_comes_at_its_last_time_only() -> None:
    agenda = Agenda()
    agenda.set(A, 1.0)
    agenda.set(A, 5.0)
    agenda.set(A, 3.0)
    assert list(agenda.due(2.0)) == []
    assert list(agenda.due(9.0)) == [A]
    assert agenda.next_s() is None


def test_agenda_entry_cleared_and_set_again_to_the_same_time_comes_once() -> None:
    agenda = Agenda()
    agenda.set(A, 1.0)
    agenda.clear(A)
    assert agenda.next_s() is None
    agenda.set(A, 1.0)
    assert list(agenda.due(1.0)) == [A]
    assert list(agenda.due(9.0)) == []


def test_agenda_entry_set_while_others_are_due_comes_in_the_same_turn() -> None:
    agenda = Agenda()
    agenda.set(A, 1.0)
    met = []
    for entry in agenda.due(2.0):
        met.append(entry)
        if entry == A:
            agenda.set(B, 2.0)
    assert met == [A, B]


def test_agenda_needs_of_one_moment_are_met_close_before_probe() -> None:
    agenda = Agenda()
    agenda.set(Entry(Need.PROBE, 1), 1.0)
    agenda.set(Entry(Need.CLOSE, 9), 1.0)
    assert [entry.need for entry in agenda.due(1.0)] == [Need.CLOSE, Need.PROBE]


def test_agenda_moved_for_ever_does_not_grow() -> None:
    agenda = Agenda()
    for step in range(10 * HEAP_SWEPT_MIN):
        agenda.set(A, float(step))
    assert len(agenda._heap) <= HEAP_SWEPT_MIN
    assert list(agenda.due(1e9)) == [A]


operations = st.lists(
    st.tuples(st.sampled_from(["set", "clear", "due"]), st.integers(0, 3), st.integers(0, 8))
)


@given(operations)
def test_agenda_over_any_history_equals_a_plain_dictionary(history: list[tuple[str, int, int]]) -> None:
    agenda, plain = Agenda(), dict[Entry, float]()
    for operation, number, time in history:
        entry, at_s = Entry(Need.PROBE, number), float(time)
        if operation == "set":
            agenda.set(entry, at_s)
            plain[entry] = at_s
        elif operation == "clear":
            agenda.clear(entry)
            plain.pop(entry, None)
        else:
            expected = sorted((when, each) for each, when in plain.items() if when <= at_s)
            assert list(agenda.due(at_s)) == [each for _, each in expected]
            for _, each in expected:
                del plain[each]
        assert agenda.next_s() == min(plain.values(), default=None)
