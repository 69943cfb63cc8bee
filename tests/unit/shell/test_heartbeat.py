"""Who is silent, and when nothing may be concluded."""

from lb.shell.heartbeat import LATE_NS, LOOK_NS, SILENT_NS, Heartbeats

START_NS = 10**12


def test_heartbeats_recent_signs_nobody_is_silent() -> None:
    heartbeats = Heartbeats(START_NS)
    now_ns = START_NS + LOOK_NS
    assert heartbeats.silent(now_ns, {0: now_ns, 1: now_ns - SILENT_NS}) == set()


def test_heartbeats_old_sign_is_silent() -> None:
    heartbeats = Heartbeats(START_NS)
    now_ns = START_NS + LOOK_NS
    assert heartbeats.silent(now_ns, {0: now_ns, 1: now_ns - SILENT_NS - 1}) == {1}


def test_heartbeats_late_look_says_nothing_and_the_next_one_decides() -> None:
    """A machine that was paused for a minute finds every sign a minute old."""
    heartbeats = Heartbeats(START_NS)
    paused_ns = START_NS + 60 * 10**9
    assert heartbeats.silent(paused_ns, {0: START_NS, 1: START_NS}) is None
    now_ns = paused_ns + LOOK_NS
    assert heartbeats.silent(now_ns, {0: paused_ns + LOOK_NS // 2, 1: START_NS}) == {1}


def test_heartbeats_look_that_is_late_within_bounds_still_counts() -> None:
    heartbeats = Heartbeats(START_NS)
    assert heartbeats.silent(START_NS + LOOK_NS + LATE_NS, {0: START_NS - SILENT_NS}) == {0}
    assert heartbeats.silent(START_NS + 2 * (LOOK_NS + LATE_NS) + 1, {0: START_NS}) is None
