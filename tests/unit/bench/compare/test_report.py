"""The page of a run: medians, ratios, errors, and what is left out."""

from collections.abc import Callable

from bench.compare import report
from bench.compare.results import Results


def test_page_has_medians_and_ratios_with_their_interval(results_of: Callable[..., Results]) -> None:
    page = report.markdown(
        results_of(("connect", "lb", [9.0, 9.0, 10.0]), ("connect", "nginx", [10.0, 10.0, 10.0]))
    )
    assert "| lb | 9.0 | 1 |" in page
    assert "| nginx | 10.0 | 0.90 (0.90–1.00) |" in page
    assert page.endswith("## Errors\n\nNone.\n")


def test_page_of_few_rounds_shows_no_interval(results_of: Callable[..., Results]) -> None:
    page = report.markdown(results_of(("connect", "lb", [9.0]), ("connect", "nginx", [10.0])))
    assert "| nginx | 10.0 | 0.90 |" in page


def test_page_names_each_error_and_failure(results_of: Callable[..., Results]) -> None:
    results = results_of(("connect", "lb", [9.0, 9.0]))
    results.samples[0] |= {"errors": {"reset": 3, "stalled": 0}, "errors_total": 3}
    results.samples[1] |= {"failed": "proxy: did\nnot start"}
    page = report.markdown(results)
    assert "- connect, lb, log on, round 1: 3 errors (reset 3)" in page
    assert "- connect, lb, log on, round 2: proxy: did not start" in page


def test_page_leaves_out_calibration_and_what_was_made_again(results_of: Callable[..., Results]) -> None:
    results = results_of(("connect", "lb", [100.0, 9.0, 9.0]))
    results.samples[0]["round"] = 0
    results.samples[1] |= {"dropped": "strangers used 40 % of a CPU", "cpu": 50.0}
    page = report.markdown(results)
    assert "| lb | 9.0 | 1 |" in page
    assert "Made again: 1." in page


def test_page_marks_rounds_that_strangers_disturbed(results_of: Callable[..., Results]) -> None:
    results = results_of(("connect", "lb", [9.0, 9.0]))
    results.samples[0]["foreign_percent"] = 35.0
    page = report.markdown(results)
    assert "strangers used more than 10 %: round 1: 1, up to 35 %." in page
    assert "| 90 % | 35 % | 0 |" in page


def test_page_sets_lb_against_itself(results_of: Callable[..., Results]) -> None:
    page = report.markdown(results_of(("workers-1", "lb", [30.0]), ("workers-2", "lb", [33.0])))
    assert "| two workers over one, CPU per connection | 33.0 µs | 30.0 µs | 1.10 |" in page


def test_results_written_and_read_are_the_same(results_of: Callable[..., Results], tmp_path) -> None:
    results = results_of(("connect", "lb", [9.0]), ("connect", "nginx", [10.0]))
    results.write(tmp_path / "run.json")
    assert report.markdown(Results.read(tmp_path / "run.json")) == report.markdown(results)
