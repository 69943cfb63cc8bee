"""The corpus of files that must be refused: bad/NAME.yaml, and beside it what lb says, word for word.

Whoever changes a message runs these with LB_ACCEPT=1 in the environment, and reads the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lb.config import ConfigError
from lb.config.parse import parse

BAD = sorted((Path(__file__).parent / "bad").glob("*.yaml"))
ENVIRONMENT = {"LB_EMPTY": "", "LB_NUMBER": "7", "LB_KEYS": "10.0.0.1:80\nevil: key"}


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_bad_file_is_refused_with_every_problem_at_its_place(path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(path.read_text(), file=path.name, environment=ENVIRONMENT)
    said = f"{refused.value}\n"
    expected = path.with_suffix(".txt")
    if os.environ.get("LB_ACCEPT"):
        expected.write_text(said)
    assert said == expected.read_text()


def test_corpus_has_no_expectation_without_a_file() -> None:
    expected = {path.stem for path in (Path(__file__).parent / "bad").glob("*.txt")}
    assert expected == {path.stem for path in BAD}
