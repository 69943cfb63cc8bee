"""Stable ids: dense, and never two holders of one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb.core.ids import Ids


def test_ids_taken_from_nothing_count_up() -> None:
    ids = Ids()
    assert [ids.take() for _ in range(3)] == [0, 1, 2]


def test_ids_freed_are_given_again_smallest_first() -> None:
    ids = Ids()
    for _ in range(5):
        ids.take()
    for number in (3, 0, 4):
        ids.free(number)
    assert [ids.take() for _ in range(4)] == [0, 3, 4, 5]


@pytest.mark.parametrize("number", [0, 1, -1])
def test_ids_free_of_what_is_not_taken_raises(number: int) -> None:
    ids = Ids()
    ids.free(ids.take())
    with pytest.raises(KeyError):
        ids.free(number)


@given(st.lists(st.integers(0, 9)))
def test_ids_over_any_history_are_the_smallest_not_held(history: list[int]) -> None:
    ids, held = Ids(), set[int]()
    for choice in history:
        if choice in held:
            ids.free(choice)
            held.remove(choice)
        else:
            number = ids.take()
            assert number == min(set(range(len(held) + 1)) - held)
            held.add(number)
