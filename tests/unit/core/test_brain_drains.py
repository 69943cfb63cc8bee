"""The way out of endpoints, listeners and pools: counted, bounded, forgotten, and the id given again."""

from lb.core.brain import Brain
from lb.core.commands import (
    CloseSessions,
    CountSessions,
    ForgetEndpoint,
    ForgetListener,
    ForgetPool,
    PublishSnapshot,
)
from lb.core.drains import COUNT_INTERVAL_S, LISTENER_EMPTIED_S, TAKEN_UP_S
from lb.core.events import ConfigLoaded, OperatorOrdered, SessionsCounted
from lb.model.cause import Reason
from lb.model.config import Config
from lb.model.endpoint import Admin
from tests.support.configurations import config, endpoint, key, listener, pool
from tests.support.playbook import Playbook

A, B = key("web/a"), key("web/b")
BOTH = config(pool("web", "a b", drain_s=60.0))
ONLY_B = config(pool("web", "b", drain_s=60.0))
NOTHING_OPEN = SessionsCounted({}, {})
A_OPEN = SessionsCounted({0: 7}, {})
TIMES_UP = CloseSessions(Reason.DRAINED, endpoint_id=0)


def serving(loaded: Config = BOTH) -> Playbook:
    play = Playbook(Brain(1))
    assert play >> ConfigLoaded(loaded) << PublishSnapshot
    return play


def ids(play: Playbook) -> dict[str, int]:
    return {each.key.endpoint: each.id for each in play.brain.endpoints() if not each.removed}


def names(play: Playbook) -> list[str | None]:
    """Those of the snapshot's endpoints, by id."""
    return [line.name if line is not None else None for line in play.snapshot.endpoints]


def wait(play: Playbook, seconds: float, counts: SessionsCounted) -> list[object]:
    """Answers with these counts whenever it is asked to count; gives what else was commanded."""
    others: list[object] = []
    for _ in range(round(seconds / COUNT_INTERVAL_S)):
        play >> COUNT_INTERVAL_S
        for command in play.take(object):
            if isinstance(command, CountSessions):
                play >> counts
                others += play.take(object)
            else:
                others.append(command)
    return others


# ---- An order to drain ------------------------------------------------------------------------------


def test_drain_with_nothing_open_is_drained_once_every_worker_knows_and_counts_no_more() -> None:
    play = serving()
    assert play >> OperatorOrdered(A, Admin.DRAIN) << PublishSnapshot
    assert play.eligible("web") == "b"
    assert play >> TAKEN_UP_S << CountSessions >> NOTHING_OPEN
    [record] = play.recorded("endpoint_drained", pool="web", endpoint="a", removed=False)
    assert record.facts["duration_s"] == TAKEN_UP_S
    assert wait(play, 120.0, NOTHING_OPEN) == []


def test_drain_counts_until_the_last_session_ended_and_says_so_once() -> None:
    play = serving()
    assert play >> OperatorOrdered(A, Admin.DRAIN) << PublishSnapshot
    assert wait(play, 10.0, A_OPEN) == []
    assert not play.recorded("endpoint_drained")
    assert play >> COUNT_INTERVAL_S << CountSessions >> NOTHING_OPEN
    assert play.recorded("endpoint_drained")
    assert play >> NOTHING_OPEN
    assert not play.recorded("endpoint_drained")


def test_drain_that_lasts_too_long_closes_what_is_left_once() -> None:
    play = serving(config(pool("web", "a b", drain_s=10.0)))
    assert play >> OperatorOrdered(A, Admin.DRAIN) << PublishSnapshot
    assert wait(play, 9.5, A_OPEN) == []
    assert wait(play, 0.5, A_OPEN) == [TIMES_UP]
    assert wait(play, 60.0, A_OPEN) == []


def test_drain_without_time_publishes_and_then_closes() -> None:
    play = serving(config(pool("web", "a b", drain_s=0.0)))
    assert play >> OperatorOrdered(A, Admin.DRAIN) << PublishSnapshot << TIMES_UP


def test_drain_that_is_called_off_closes_nothing() -> None:
    play = serving(config(pool("web", "a b", drain_s=2.0)))
    assert play >> OperatorOrdered(A, Admin.DRAIN) << PublishSnapshot >> 1.0
    assert play >> OperatorOrdered(A, Admin.READY) << PublishSnapshot
    assert play.eligible("web") == "a b"
    assert play >> 60.0


def test_drain_that_becomes_maint_keeps_its_deadline() -> None:
    play = serving(config(pool("web", "a b", drain_s=10.0)))
    assert play >> OperatorOrdered(A, Admin.DRAIN) << PublishSnapshot
    assert wait(play, 5.0, A_OPEN) == []
    assert play >> OperatorOrdered(A, Admin.MAINT)
    assert wait(play, 4.5, A_OPEN) == []
    assert wait(play, 0.5, A_OPEN) == [TIMES_UP]


def test_drain_bound_shortened_by_a_reload_holds_for_the_drain_that_runs() -> None:
    play = serving()
    assert play >> OperatorOrdered(A, Admin.DRAIN) << PublishSnapshot
    assert wait(play, 20.0, A_OPEN) == []
    assert play >> ConfigLoaded(config(pool("web", "a b", drain_s=10.0))) << TIMES_UP
    assert play >> ConfigLoaded(config(pool("web", "a b", drain_s=5.0)))


def test_drain_written_in_the_file_is_like_an_order() -> None:
    play = serving(config(pool("web", (endpoint("a", admin=Admin.DRAIN), endpoint("b")), drain_s=2.0)))
    assert play.eligible("web") == "b"
    assert play >> 2.0 << TIMES_UP


# ---- Removed endpoints ------------------------------------------------------------------------------


def test_removed_endpoint_stays_in_the_snapshot_until_nothing_is_open() -> None:
    play = serving()
    assert play >> ConfigLoaded(ONLY_B) << PublishSnapshot
    assert play.eligible("web") == "b"
    assert names(play) == ["a", "b"]
    assert wait(play, 10.0, A_OPEN) == []
    assert play >> COUNT_INTERVAL_S << CountSessions
    assert play >> NOTHING_OPEN << PublishSnapshot << ForgetEndpoint(0, A)
    assert play.recorded("endpoint_drained", endpoint="a", removed=True)
    assert names(play) == [None, "b"]
    assert ids(play) == {"b": 1}


def test_removed_endpoint_that_lasts_too_long_is_closed_and_then_forgotten() -> None:
    play = serving(config(pool("web", "a b", drain_s=10.0)))
    assert play >> ConfigLoaded(config(pool("web", "b", drain_s=10.0))) << PublishSnapshot
    assert wait(play, 9.5, A_OPEN) == []
    assert wait(play, 0.5, A_OPEN) == [TIMES_UP]
    assert play >> COUNT_INTERVAL_S << CountSessions
    assert play >> NOTHING_OPEN << PublishSnapshot << ForgetEndpoint(0, A)


def test_removed_endpoint_outlives_a_count_that_some_worker_may_not_have_been_ready_for() -> None:
    play = serving(config(pool("web", "a b c")))
    assert play >> ConfigLoaded(config(pool("web", "b c"))) << PublishSnapshot
    assert play >> TAKEN_UP_S << CountSessions
    assert play >> ConfigLoaded(config(pool("web", "c"))) << PublishSnapshot
    assert play >> NOTHING_OPEN << PublishSnapshot << ForgetEndpoint(0, A)
    assert wait(play, TAKEN_UP_S - COUNT_INTERVAL_S, NOTHING_OPEN) == []
    assert play >> COUNT_INTERVAL_S << CountSessions
    assert play >> NOTHING_OPEN << PublishSnapshot << ForgetEndpoint(1, B)


def test_freed_id_is_given_to_the_next_endpoint_and_a_held_one_is_not() -> None:
    play = serving(config(pool("web", "a b c")))
    assert play >> ConfigLoaded(config(pool("web", "c"))) << PublishSnapshot
    assert play >> TAKEN_UP_S << CountSessions
    assert play >> SessionsCounted({1: 3}, {}) << PublishSnapshot << ForgetEndpoint(0, A)
    assert play >> ConfigLoaded(config(pool("web", "c d e"))) << PublishSnapshot
    assert ids(play) == {"c": 2, "d": 0, "e": 3}


def test_removed_endpoint_that_comes_back_while_it_drains_keeps_its_id_and_sessions() -> None:
    play = serving()
    assert play >> ConfigLoaded(ONLY_B) << PublishSnapshot
    assert wait(play, 10.0, A_OPEN) == []
    assert play >> ConfigLoaded(BOTH) << PublishSnapshot
    assert play.recorded("endpoint_added", endpoint="a", back=True, id=0)
    assert play.eligible("web") == "a b"
    assert wait(play, 120.0, A_OPEN) == []
    assert ids(play) == {"a": 0, "b": 1}


def test_endpoint_under_another_address_is_another_one_and_the_old_one_drains() -> None:
    play = serving()
    moved = config(pool("web", (endpoint("a", host="10.7.7.7"), endpoint("b"))))
    assert play >> ConfigLoaded(moved) << PublishSnapshot
    assert ids(play) == {"a": 2, "b": 1}
    [old] = [each for each in play.brain.endpoints() if each.removed]
    assert (old.id, old.key, old.eligible) == (0, A, False)
    assert play >> TAKEN_UP_S << CountSessions >> NOTHING_OPEN << PublishSnapshot << ForgetEndpoint(0, A)


# ---- Listeners and pools ----------------------------------------------------------------------------


def two_listeners() -> Config:
    return config(pool("web", "a"), listeners=(listener("x", pool="web"), listener("y", pool="web", port=1)))


def one_listener() -> Config:
    return config(pool("web", "a"), listeners=(listener("y", pool="web", port=1),))


def test_removed_listener_keeps_its_line_and_its_sessions_until_the_last_one_ended() -> None:
    play = serving(two_listeners())
    assert play >> ConfigLoaded(one_listener())
    assert wait(play, 600.0, SessionsCounted({}, {0: 1})) == []
    assert play.brain.listener_ids == {"x": 0, "y": 1}
    assert play >> COUNT_INTERVAL_S << CountSessions
    assert play >> NOTHING_OPEN << PublishSnapshot << ForgetListener(0, "x")
    assert [line and line.name for line in play.snapshot.listeners] == [None, "y"]


def test_removed_listener_without_sessions_is_kept_while_its_socket_is_being_emptied() -> None:
    play = serving(two_listeners())
    assert play >> ConfigLoaded(one_listener())
    assert wait(play, LISTENER_EMPTIED_S - COUNT_INTERVAL_S, NOTHING_OPEN) == []
    assert play >> COUNT_INTERVAL_S << CountSessions
    assert play >> NOTHING_OPEN << PublishSnapshot << ForgetListener(0, "x")


def test_removed_listener_that_comes_back_keeps_its_id() -> None:
    play = serving(two_listeners())
    assert play >> ConfigLoaded(one_listener()) >> 5.0 >> ConfigLoaded(two_listeners())
    assert wait(play, 60.0, NOTHING_OPEN) == []
    assert play.brain.listener_ids == {"x": 0, "y": 1}


def test_removed_pool_stays_as_an_empty_line_while_a_removed_listener_names_it() -> None:
    play = serving(config(pool("old", "a"), pool("web", "b")))
    assert play >> ConfigLoaded(config(pool("web", "b"))) << PublishSnapshot
    line = play.snapshot.pools[0]
    assert line is not None
    assert (line.name, line.eligible, line.schedule) == ("old", (), ())
    still_there = SessionsCounted({}, {0: 1})
    assert ForgetEndpoint(0, key("old/a")) in wait(play, TAKEN_UP_S, still_there)
    assert wait(play, 60.0, still_there) == []
    assert play >> COUNT_INTERVAL_S << CountSessions
    assert play >> NOTHING_OPEN << PublishSnapshot << ForgetListener(0, "old") << ForgetPool(0, "old")
    assert play.snapshot.pools[0] is None
    assert play.brain.pool_ids == {"web": 1}


def test_removed_pool_that_no_listener_names_keeps_its_id_until_its_last_session_ended() -> None:
    """Sessions are counted under it: another pool's counts would begin with them."""
    only_web = (listener("web"),)
    play = serving(config(pool("old", "a"), pool("web", "b"), listeners=only_web))
    assert play >> ConfigLoaded(config(pool("web", "b"), listeners=only_web)) << PublishSnapshot
    assert wait(play, 10.0, SessionsCounted({0: 1}, {})) == []
    assert play.brain.pool_ids == {"old": 0, "web": 1}
    assert play >> COUNT_INTERVAL_S << CountSessions
    assert play >> NOTHING_OPEN << PublishSnapshot << ForgetEndpoint(0, key("old/a")) << ForgetPool(0, "old")
    assert play.snapshot.pools[0] is None
    assert names(play) == [None, "b"]


def test_removed_pool_without_endpoints_is_gone_at_once() -> None:
    only_web = (listener("web"),)
    play = serving(config(pool("old", ""), pool("web", "b"), listeners=only_web))
    only_b = config(pool("web", "b"), listeners=only_web)
    assert play >> ConfigLoaded(only_b) << PublishSnapshot << ForgetPool(0, "old")
    assert play.snapshot.pools[0] is None
    assert play.brain.pool_ids == {"web": 1}
