"""/metrics: every series is there from the start, means what its name says, and goes with its endpoint."""

from __future__ import annotations

import math

from prometheus_client.parser import text_string_to_metric_families

from lb import __version__
from lb.model.cause import Reason
from lb.shell.metrics import Exposition as Metrics
from lb.shell.observed import LastReload, Observed
from tests.support.exposition import Exposition
from tests.support.observed import ENDPOINTS, WALL_S, FakeFile, endpoint, observed

IN_SCOPE = {
    "lb_listener_sessions_open",
    "lb_listener_sessions_total",
    "lb_listener_refused_total",
    "lb_sessions_closed_total",
    "lb_session_seconds",
    "lb_listener_would_refuse_total",
    "lb_listener_paced_total",
    "lb_listener_sources_untracked_total",
    "lb_endpoint_sessions_open",
    "lb_endpoint_sessions_total",
    "lb_endpoint_bytes_total",
    "lb_endpoint_up",
    "lb_endpoint_eligible",
    "lb_endpoint_ejected",
    "lb_endpoint_ejections_total",
    "lb_endpoint_weight",
    "lb_endpoint_connect_seconds",
    "lb_endpoint_first_byte_seconds",
    "lb_endpoint_connect_failures_total",
    "lb_endpoint_transitions_total",
    "lb_check_duration_seconds",
    "lb_check_last_run_age_seconds",
    "lb_check_certificate_expiry_timestamp_seconds",
    "lb_pool_endpoints",
    "lb_pool_panic",
    "lb_pool_queued",
    "lb_pool_queued_total",
    "lb_pool_retries_total",
    "lb_pool_retries_refused_total",
    "lb_config_generation",
    "lb_config_last_reload_success",
    "lb_config_last_reload_success_timestamp_seconds",
    "lb_worker_sessions_open",
    "lb_worker_restarts_total",
    "lb_loop_lag_seconds",
    "lb_accept_paused_total",
    "lb_sessions_starved_total",
    "lb_access_log_dropped_total",
    "lb_access_log_sampled_out_total",
    "lb_log_dropped_total",
    "lb_build_info",
}


def scrape(seen: Observed | None = None) -> Exposition:
    return Exposition(Metrics().render(seen or observed()).decode())


def test_metrics_are_all_there_each_once_with_help_and_type() -> None:
    text = Metrics().render(observed()).decode()
    helped = [line.split(" ")[2] for line in text.splitlines() if line.startswith("# HELP lb_")]
    typed = [line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE lb_")]
    assert helped == typed
    assert sorted(helped) == sorted(IN_SCOPE)
    assert all(family.documentation for family in text_string_to_metric_families(text))


def test_metrics_name_no_series_twice() -> None:
    twins = (*ENDPOINTS, endpoint(7, "a", removed=True), endpoint(8, "a", removed=True))
    text = Metrics().render(observed(endpoints=twins)).decode()
    series = [line.rpartition(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    assert len(series) == len(set(series))


def test_metrics_of_a_listener_count_its_sessions_and_every_reason() -> None:
    found = scrape()
    assert found.sum("lb_listener_sessions_open", listener="public") == 3
    assert found.sum("lb_listener_sessions_total", listener="public") == 30
    assert found.sum("lb_listener_refused_total", listener="public", reason="limit") == 2
    assert found.sum("lb_sessions_closed_total", listener="public", reason="done") == 7
    assert len(found.each("lb_sessions_closed_total", listener="public")) == len(Reason)
    assert found.sum("lb_session_seconds_count", listener="public") == 6
    assert found.sum("lb_listener_would_refuse_total", listener="public", reason="refused_acl") == 1
    assert found.sum("lb_listener_sources_untracked_total", listener="public") == 6
    assert found.sum("lb_listener_paced_total", listener="public") == 9


def test_metrics_of_an_endpoint_show_its_counts_and_state() -> None:
    found = scrape()
    assert found.sum("lb_endpoint_sessions_open", pool="web", endpoint="b") == 2
    assert found.sum("lb_endpoint_sessions_total", pool="web", endpoint="b") == 20
    assert found.sum("lb_endpoint_bytes_total", pool="web", endpoint="b", direction="in") == 200
    assert found.sum("lb_endpoint_bytes_total", pool="web", endpoint="b", direction="out") == 2000
    assert found.sum("lb_endpoint_connect_failures_total", pool="web", endpoint="b", reason="refused") == 2
    assert found.sum("lb_endpoint_up", endpoint="a") == 1
    assert found.sum("lb_endpoint_up", endpoint="b") == 0
    assert found.sum("lb_endpoint_eligible", endpoint="c") == 0
    assert found.sum("lb_endpoint_weight", endpoint="a") == 1
    assert found.sum("lb_endpoint_connect_seconds_sum", endpoint="a") == 6.5


def test_metrics_have_every_transition_that_can_happen_from_the_start() -> None:
    found = scrape()
    assert found.sum("lb_endpoint_transitions_total", endpoint="b", to="DOWN", cause="PROBE") == 2
    for to, cause in [("UP", "PROBE"), ("DOWN", "PROBE"), ("DRAIN", "OPERATOR"), ("MAINT", "CONFIG")]:
        assert found.sum("lb_endpoint_transitions_total", endpoint="new", to=to, cause=cause) == 0


def test_metrics_of_a_check_show_its_durations_and_the_age_of_its_last_run() -> None:
    found = scrape()
    assert found.sum("lb_check_duration_seconds_count", endpoint="a") == 6
    assert found.sum("lb_check_duration_seconds_count", endpoint="b") == 0
    assert found.sum("lb_check_last_run_age_seconds", endpoint="a") == 0.5
    assert found.sum("lb_check_last_run_age_seconds", endpoint="new") == 100  # never ran since it came
    assert math.isnan(found.sum("lb_check_last_run_age_seconds", endpoint="c"))  # MAINT stops probes
    assert not found.each("lb_check_last_run_age_seconds", endpoint="db")


def test_expiry_of_a_certificate_is_shown_of_endpoints_whose_check_speaks_tls() -> None:
    found, name = scrape(), "lb_check_certificate_expiry_timestamp_seconds"
    assert found.sum(name, endpoint="shown") == 1_800_000_000
    assert math.isnan(found.sum(name, endpoint="asked"))
    assert len(found.each(name)) == 2


def test_metrics_of_a_pool_count_who_waits_and_further_attempts() -> None:
    found = scrape()
    assert [found.sum("lb_pool_queued", pool=pool) for pool in ("web", "plain")] == [0, 1]
    assert found.sum("lb_pool_queued_total", pool="web") == 11
    assert found.sum("lb_pool_retries_total", pool="web") == 12
    assert found.sum("lb_pool_retries_refused_total", pool="web") == 13


def test_metrics_of_a_pool_count_endpoints_by_state() -> None:
    found = scrape()
    states = {
        state: found.sum("lb_pool_endpoints", pool="web", state=state)
        for state in ("configured", "eligible", "up", "down", "unknown", "drain", "maint", "removed")
    }
    assert states == {
        "configured": 4,
        "eligible": 2,
        "up": 2,
        "down": 1,
        "unknown": 1,
        "drain": 0,
        "maint": 1,
        "removed": 1,
    }


def test_metrics_of_a_removed_endpoint_go_when_it_has_drained() -> None:
    assert scrape().sum("lb_endpoint_sessions_open", endpoint="gone") == 4
    drained = scrape(observed(endpoints=ENDPOINTS[1:]))
    assert not drained.each("lb_endpoint_sessions_open", endpoint="gone")


def test_metrics_of_a_name_that_was_taken_over_are_the_new_endpoints_but_for_open_sessions() -> None:
    found = scrape(observed(endpoints=(endpoint(7, "a", removed=True, eligible=False), *ENDPOINTS)))
    assert found.sum("lb_endpoint_sessions_open", endpoint="a") == 7 + 1
    assert found.sum("lb_endpoint_sessions_total", endpoint="a") == 10
    assert found.sum("lb_endpoint_eligible", endpoint="a") == 1


def test_metrics_tell_whether_the_last_reload_was_accepted() -> None:
    assert scrape().sum("lb_config_last_reload_success") == 1
    refused = scrape(observed(file=FakeFile(last=LastReload(False, WALL_S, ("no",)))))
    assert refused.sum("lb_config_last_reload_success") == 0
    assert refused.sum("lb_config_last_reload_success_timestamp_seconds") == WALL_S - 50
    assert refused.sum("lb_config_generation") == 17


def test_metrics_of_workers_and_of_what_was_dropped() -> None:
    found = scrape()
    assert found.sum("lb_worker_sessions_open", worker="1") == 2
    assert found.sum("lb_worker_restarts_total", worker="1") == 2
    assert found.sum("lb_accept_paused_total", worker="0") == 4
    assert found.sum("lb_sessions_starved_total", worker="0") == 8
    assert found.sum("lb_access_log_sampled_out_total") == 7 + 7
    assert found.sum("lb_access_log_dropped_total") == 5 + 5 + 1
    assert found.sum("lb_log_dropped_total") == 6
    for process in ("supervisor", "worker-0", "worker-1"):
        assert found.sum("lb_loop_lag_seconds_count", process=process) == 6


def test_metrics_name_the_version_and_the_process() -> None:
    found = scrape()
    assert found.sum("lb_build_info", version=__version__) == 1
    assert found.sum("process_open_fds") > 0
