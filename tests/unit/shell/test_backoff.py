"""How long a worker's place stays empty."""

from lb.shell.backoff import GOOD_LIFE_S, Backoff


def test_backoff_first_death_replaces_at_once() -> None:
    assert Backoff().after(lived_s=0.0) == 0.0


def test_backoff_early_deaths_wait_longer_up_to_five_seconds() -> None:
    backoff = Backoff()
    assert [backoff.after(lived_s=0.1) for _ in range(9)] == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]


def test_backoff_thousands_of_deaths_still_wait_five_seconds() -> None:
    backoff = Backoff()
    assert [backoff.after(lived_s=0.1) for _ in range(5000)][-1] == 5.0


def test_backoff_a_good_life_clears_the_record() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.after(lived_s=0.1)
    assert backoff.after(lived_s=GOOD_LIFE_S) == 0.0
    assert backoff.after(lived_s=0.1) == 0.1
