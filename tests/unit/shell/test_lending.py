"""Who stands in for whom."""

from hypothesis import given
from hypothesis import strategies as st

from lb.shell.lending import lend

workers = st.integers(0, 7)


def test_lend_everybody_serves_nothing_is_lent() -> None:
    assert lend(set(), {0, 1, 2}, {}) == {}


def test_lend_nobody_serves_nothing_can_be_lent() -> None:
    assert lend({0, 1}, set(), {0: 1}) == {}


def test_lend_absent_workers_are_spread_over_those_that_serve() -> None:
    assert lend({0, 1}, {2, 3}, {}) == {0: 2, 1: 3}


def test_lend_standing_loan_stays_where_it_is() -> None:
    assert lend({0, 1}, {2, 3}, {0: 3}) == {0: 3, 1: 2}


def test_lend_owner_is_back_loan_ends() -> None:
    assert lend({1}, {0, 2}, {0: 2, 1: 2}) == {1: 2}


def test_lend_borrower_is_gone_somebody_else_stands_in() -> None:
    assert lend({0, 2}, {1, 3}, {0: 2}) == {0: 1, 2: 3}


@given(st.sets(workers), st.dictionaries(workers, workers))
def test_lend_any_state_lends_each_absent_worker_once_and_evenly(
    serving: set[int], before: dict[int, int]
) -> None:
    absent = set(range(8)) - serving
    loans = lend(absent, serving, before)
    assert set(loans) == (absent if serving else set())
    assert set(loans.values()) <= serving
    assert lend(absent, serving, loans) == loans
    if fresh := lend(absent, serving, {}):
        burdens = [list(fresh.values()).count(worker) for worker in serving]
        assert max(burdens) - min(burdens) <= 1
