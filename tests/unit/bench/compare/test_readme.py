"""The README's figures, put between its two marks."""

from collections.abc import Callable
from pathlib import Path

import pytest

from bench.compare import readme
from bench.compare.results import Results
from bench.process import ROOT


def test_readme_has_the_marks() -> None:
    text = (ROOT / "README.md").read_text()
    assert text.count(readme.BEGIN) == text.count(readme.END) == 1


def test_readme_is_changed_between_the_marks_only(results_of: Callable[..., Results], tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{readme.BEGIN}\nold\n{readme.END}\nafter\n")
    results = results_of(("connect", "lb", [9.0]), ("connect", "nginx", [10.0]))
    readme.update(page, results, tmp_path / "results" / "run")
    text = page.read_text()
    assert text.startswith(f"before\n{readme.BEGIN}\n") and text.endswith(f"{readme.END}\nafter\n")
    assert "old" not in text
    assert "| **9.0** | – | 10.0 | – |" in text
    assert "(results/run.svg)" in text


def test_readme_without_the_marks_is_refused(results_of: Callable[..., Results], tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("nothing\n")
    with pytest.raises(SystemExit, match="lacks the lines"):
        readme.update(page, results_of(("connect", "lb", [9.0])), tmp_path / "run")


def test_readme_names_the_second_entry_of_a_column(results_of: Callable[..., Results]) -> None:
    results = results_of(
        ("bulk-1", "lb", [0.2]), ("bulk-1", "haproxy", [0.3]), ("bulk-1", "haproxy-splice", [0.1])
    )
    assert "| 0.20 | **0.10** (splice), 0.30 |" in readme.block(results, "run")
