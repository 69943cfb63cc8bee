"""From probes to health to what is published."""

from dataclasses import replace

import pytest

from lb.core.brain import Brain
from lb.core.commands import CancelProbe, CloseSessions, PublishSnapshot, StartProbe
from lb.core.events import ConfigLoaded, OperatorOrdered, ProbeFinished, SessionsFailed
from lb.model.cause import Reason
from lb.model.check import Certificate, Check
from lb.model.config import Config
from lb.model.endpoint import Admin, Health
from tests.support.configurations import FAILED, PASSED, STEADY, address, config, key, pool
from tests.support.playbook import Playbook, Slot

A, B = key("web/a"), key("web/b")
UNCERTAIN = replace(STEADY, initial_up=False)


def playbook(seed: int = 1) -> Playbook:
    return Playbook(Brain(seed))


def probe_of(name: str, number: object, check: Check = STEADY) -> StartProbe:
    return StartProbe(number, key(f"web/{name}"), address(name), check)  # type: ignore[arg-type]


def started(loaded: Config) -> tuple[Playbook, int]:
    """A pool of one endpoint whose first probe has just been started."""
    play, probe = playbook(), Slot()
    assert play >> ConfigLoaded(loaded) << PublishSnapshot
    first_run_s = play.brain.endpoints()[0].checks[0].next_run_s
    assert first_run_s is not None
    check = loaded.pools[0].check
    assert check is not None
    assert play >> first_run_s << probe_of("a", probe, check)
    return play, probe()


def health(play: Playbook, name: str = "a") -> Health:
    [found] = [each.health for each in play.brain.endpoints() if each.key.endpoint == name]
    return found


def fail_until_down(play: Playbook, probe: int, check: Check = STEADY) -> None:
    for _ in range(2):
        following = Slot()
        assert play >> ProbeFinished(probe, A, FAILED) >> 0.5 << probe_of("a", following, check)
        probe = following()
    assert health(play) is Health.UP
    play >> ProbeFinished(probe, A, FAILED)
    assert health(play) is Health.DOWN


# ---- Certificates that probes are shown ---------------------------------------------------------------

DAY_S = 86400.0


def test_certificate_that_expires_is_told_of_once_before_and_once_after() -> None:
    """And again when another one is shown that expires soon."""
    play, probe = started(config(pool("web", "a", check=STEADY)))
    shown = [
        *[Certificate(20 * DAY_S, left * DAY_S) for left in (15.0, 13.9, 13.8, -0.1, -0.2)],
        *[Certificate(90 * DAY_S, left * DAY_S) for left in (70.0, 1.5, 1.4)],
    ]
    told: list[tuple[str, object]] = []
    for certificate in shown:
        following = Slot()
        passed = replace(PASSED, certificate=certificate)
        play >> ProbeFinished(probe, A, passed)
        told += [(each.event, each.facts.get("days_left")) for each in play.records]
        assert play >> 1.0 << probe_of("a", following)
        probe = following()
    before, after = "certificate_expires", "certificate_expired"
    assert told == [(before, 13), (after, None), (before, 1)]
    assert play.brain.endpoints()[0].checks[0].certificate == shown[-1]


# ---- Before the first probe -------------------------------------------------------------------------


def test_start_without_a_check_makes_endpoints_up_for_good() -> None:
    play = playbook()
    assert play >> ConfigLoaded(config(pool("web", "a b"))) << PublishSnapshot >> 3600.0
    assert play.eligible("web") == "a b"
    assert health(play) is Health.UP


def test_start_with_a_check_trusts_endpoints_and_records_the_cause() -> None:
    play = playbook()
    assert play >> ConfigLoaded(config(pool("web", "a", check=STEADY))) << PublishSnapshot
    assert play.recorded("endpoint_changed", axis="health", from_="UNKNOWN", to="UP", cause="CONFIG")
    assert play.eligible("web") == "a"


def test_start_with_initial_unknown_probes_at_once_and_waits_for_the_first_pass() -> None:
    play, probe = playbook(), Slot()
    assert (
        play
        >> ConfigLoaded(config(pool("web", "a", check=UNCERTAIN)))
        << PublishSnapshot
        << probe_of("a", probe, UNCERTAIN)
    )
    assert play.eligible("web") == ""
    assert play >> 0.1 >> ProbeFinished(probe(), A, PASSED) << PublishSnapshot
    assert play.eligible("web") == "a"


def test_start_of_many_endpoints_spreads_their_first_probes_over_the_interval() -> None:
    names = " ".join(f"e{number}" for number in range(200))
    brain = Brain(8)
    brain.handle(ConfigLoaded(config(pool("web", names, check=STEADY))), 50.0)
    starts = [
        one.next_run_s for each in brain.endpoints() for one in each.checks if one.next_run_s is not None
    ]
    assert len(starts) == 200
    assert 50.0 <= min(starts) < 50.1
    assert 50.9 < max(starts) <= 51.0


# ---- Verdicts ---------------------------------------------------------------------------------------


def test_probes_that_pass_go_on_at_the_interval_and_change_nothing() -> None:
    play, number = started(config(pool("web", "a", check=STEADY)))
    for _ in range(5):
        probe = Slot()
        assert play >> ProbeFinished(number, A, PASSED) >> 0.9
        assert play >> 0.1 << probe_of("a", probe)
        number = probe()
    assert play.snapshot.generation == 1


def test_probes_that_fail_in_a_row_make_down_and_publish() -> None:
    play, probe = started(config(pool("web", "a", check=STEADY)))
    fail_until_down(play, probe)
    assert play << PublishSnapshot
    assert play.eligible("web") == ""
    [record] = play.recorded("endpoint_changed", axis="health", to="DOWN", cause="PROBE")
    assert record.facts["evidence"] == "3 in a row failed: connection refused"
    assert play.recorded("endpoint_changed", axis="eligible", from_=True, to=False)
    assert play.recorded("pool_emptied", pool="web")


def test_probes_that_pass_after_down_run_slower_then_quicker_and_make_up() -> None:
    play, probe = started(config(pool("web", "a", check=STEADY)))
    fail_until_down(play, probe)
    first, second = Slot(), Slot()
    play.skip()
    assert play >> 1.9
    assert play >> 0.2 << probe_of("a", first)
    assert play >> ProbeFinished(first(), A, PASSED) >> 0.5 << probe_of("a", second)
    assert health(play) is Health.DOWN
    assert play >> ProbeFinished(second(), A, PASSED) << PublishSnapshot
    assert play.eligible("web") == "a"
    assert play.recorded("pool_restored", pool="web")


def test_probe_that_outlasts_its_interval_is_followed_at_once() -> None:
    play, probe = started(config(pool("web", "a", check=STEADY)))
    assert play >> 0.8 >> ProbeFinished(probe, A, FAILED) << StartProbe


def test_probe_that_failed_late_is_void_and_repeated_at_once() -> None:
    play, probe = started(config(pool("web", "a", check=STEADY)))
    for _ in range(10):
        following = Slot()
        assert play >> ProbeFinished(probe, A, FAILED, late=True) << probe_of("a", following)
        probe = following()
    assert health(play) is Health.UP
    assert play.brain.endpoints()[0].checks[0].streak == 0


def test_probe_that_passed_late_counts() -> None:
    play, probe = started(config(pool("web", "a", check=STEADY)))
    assert play >> ProbeFinished(probe, A, PASSED, late=True)
    assert play.brain.endpoints()[0].checks[0].streak == 1


@pytest.mark.parametrize("number", [0, 999])
def test_probe_result_with_another_number_is_dropped(number: int) -> None:
    play, probe = started(config(pool("web", "a", check=STEADY)))
    assert number != probe
    assert play >> ProbeFinished(number, A, FAILED) >> ProbeFinished(probe, key("web/nobody"), FAILED)
    assert play.brain.endpoints()[0].checks[0].last_result is None


def test_probe_goes_where_the_check_says() -> None:
    check = Check(address="10.9.9.9", port=99, initial_up=False)
    play, probe = playbook(), Slot()
    assert play >> ConfigLoaded(config(pool("web", "a", check=check))) << PublishSnapshot << probe
    assert str(probe().address) == "10.9.9.9:99"


# ---- What sessions report ---------------------------------------------------------------------------


def test_connect_failed_brings_the_next_probe_forward_and_changes_no_health() -> None:
    play, probe = started(config(pool("web", "a", check=STEADY)))
    assert play >> ProbeFinished(probe, A, PASSED) >> 0.3
    assert play >> SessionsFailed(0, {"refused": 500}) << StartProbe
    assert health(play) is Health.UP


def test_connect_failed_in_a_flood_probes_at_most_every_100_ms() -> None:
    play, probe = started(config(pool("web", "a", check=STEADY)))
    starts = 0
    for millisecond in range(1000):
        now = play.now + millisecond / 1000
        commands = play.brain.handle(SessionsFailed(0, {"refused": 1}), now)
        for command in commands + play.brain.handle(ProbeFinished(probe, A, PASSED), now):
            if isinstance(command, StartProbe):
                starts, probe = starts + 1, command.probe
    assert 8 <= starts <= 10


def test_connect_failed_while_a_probe_runs_starts_no_second_one() -> None:
    play, _ = started(config(pool("web", "a", check=STEADY)))
    assert play >> 0.5 >> SessionsFailed(0, {"timeout": 1})


def test_connect_failed_of_an_endpoint_without_a_check_or_of_nobody_does_nothing() -> None:
    play = playbook()
    assert play >> ConfigLoaded(config(pool("web", "a"))) << PublishSnapshot
    assert play >> SessionsFailed(0, {"refused": 1}) >> SessionsFailed(77, {"refused": 1}) >> 9.0


def test_connect_failed_of_an_endpoint_that_is_down_leaves_its_interval() -> None:
    play, probe = started(config(pool("web", "a", check=STEADY)))
    fail_until_down(play, probe)
    assert play.skip() >> 0.5 >> SessionsFailed(0, {"refused": 1})


# ---- MAINT ------------------------------------------------------------------------------------------


def test_maint_cancels_the_probe_and_keeps_health_as_it_was() -> None:
    play, probe = started(config(pool("web", "a", check=STEADY)))
    assert play >> OperatorOrdered(A, Admin.MAINT) << PublishSnapshot << CancelProbe(probe)
    assert health(play) is Health.UP
    assert play.eligible("web") == ""
    assert play >> ProbeFinished(probe, A, FAILED)
    assert play.brain.endpoints()[0].checks[0].next_run_s is None


def test_maint_that_ends_forgets_health_and_probes_at_once() -> None:
    play = playbook()
    assert play >> ConfigLoaded(config(pool("web", "a b", check=STEADY))) << PublishSnapshot
    assert play >> OperatorOrdered(A, Admin.MAINT) << PublishSnapshot
    probe = Slot()
    assert play >> OperatorOrdered(A, Admin.READY) << probe_of("a", probe)
    assert play.recorded("endpoint_changed", axis="health", from_="UP", to="UNKNOWN", cause="OPERATOR")
    assert play.eligible("web") == "b"
    assert play >> 0.1 >> ProbeFinished(probe(), A, PASSED) << PublishSnapshot
    assert play.eligible("web") == "a b"


def test_maint_that_ends_where_nothing_else_serves_is_presumed_to_serve() -> None:
    play, _ = started(config(pool("web", "a", check=STEADY)))
    assert play >> OperatorOrdered(A, Admin.MAINT) << PublishSnapshot << CancelProbe
    probe = Slot()
    assert play >> 0.2 >> OperatorOrdered(A, Admin.READY) << PublishSnapshot << probe_of("a", probe)
    assert play.eligible("web") == "a"
    assert play >> 0.1 >> ProbeFinished(probe(), A, FAILED) << PublishSnapshot
    assert play.eligible("web") == ""


def test_maint_that_ends_without_a_check_is_up_as_before() -> None:
    play = playbook()
    assert play >> ConfigLoaded(config(pool("web", "a b"))) << PublishSnapshot
    assert play >> OperatorOrdered(A, Admin.MAINT) << PublishSnapshot
    assert play >> OperatorOrdered(A, Admin.READY) << PublishSnapshot
    assert play.eligible("web") == "a b"


def test_drain_goes_on_probing() -> None:
    once = replace(STEADY, fall=1)
    play, probe = started(config(pool("web", "a", check=once)))
    assert play >> OperatorOrdered(A, Admin.DRAIN) << PublishSnapshot
    assert play >> ProbeFinished(probe, A, FAILED)
    assert health(play) is Health.DOWN
    assert play.brain.endpoints()[0].checks[0].next_run_s == play.now + 2.0


# ---- on_down ----------------------------------------------------------------------------------------


def test_on_down_keep_closes_nothing() -> None:
    play, probe = started(config(pool("web", "a", check=STEADY)))
    fail_until_down(play, probe)
    assert play << PublishSnapshot


def test_on_down_close_ends_sessions_right_after_the_snapshot() -> None:
    play, probe = started(config(pool("web", "a", check=STEADY, close_after_s=0.0)))
    fail_until_down(play, probe)
    assert play << PublishSnapshot << CloseSessions(Reason.ENDPOINT_DOWN, endpoint_id=0)


def test_on_down_close_after_ends_sessions_that_much_later() -> None:
    slow = replace(STEADY, interval_down_s=60.0)
    play, probe = started(config(pool("web", "a", check=slow, close_after_s=30.0)))
    fail_until_down(play, probe, slow)
    assert play << PublishSnapshot >> 29.9
    assert play >> 0.2 << CloseSessions(Reason.ENDPOINT_DOWN, endpoint_id=0)
    assert play >> 20.0


def test_on_down_close_after_spares_an_endpoint_that_is_up_again() -> None:
    quick = replace(STEADY, rise=1)
    play, probe = started(config(pool("web", "a", check=quick, close_after_s=2.5)))
    fail_until_down(play, probe, quick)
    back = Slot()
    assert play << PublishSnapshot >> 2.0 << probe_of("a", back, quick)
    assert play >> ProbeFinished(back(), A, PASSED) << PublishSnapshot >> 0.9


# ---- How soon it is published -----------------------------------------------------------------------


def test_changes_by_probes_within_20_ms_share_the_next_snapshot() -> None:
    names = [f"e{number}" for number in range(50)]
    play, probes = playbook(), [Slot() for _ in names]
    script = play >> ConfigLoaded(config(pool("web", " ".join(names), check=UNCERTAIN))) << PublishSnapshot
    for probe in probes:
        script = script << probe
    assert script >> 0.5
    assert play >> ProbeFinished(probes[0]().probe, probes[0]().key, PASSED) << PublishSnapshot
    for probe in probes[1:]:
        assert play >> 0.0001 >> ProbeFinished(probe().probe, probe().key, PASSED)
    assert play >> 0.02 << PublishSnapshot
    assert play.eligible("web").split() == sorted(names)
    assert play.brain.generation == 3


def test_change_left_waiting_is_published_with_the_next_order_under_its_own_cause() -> None:
    play, a, b = playbook(), Slot(), Slot()
    loaded = config(pool("web", "a b c", check=UNCERTAIN))
    assert play >> ConfigLoaded(loaded) << PublishSnapshot << a << b << StartProbe >> 0.5
    assert play >> ProbeFinished(a().probe, A, PASSED) << PublishSnapshot
    assert play >> 0.01 >> ProbeFinished(b().probe, B, PASSED)
    assert play >> OperatorOrdered(A, Admin.DRAIN) << PublishSnapshot
    changes = [
        (each.facts["endpoint"], each.facts["cause"])
        for each in play.recorded("endpoint_changed", axis="eligible")
    ]
    assert changes == [("b", "PROBE"), ("a", "OPERATOR")]
    assert play.eligible("web") == "b"
