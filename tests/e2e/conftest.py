"""What every end-to-end test starts from: a folder of its own, and the size to run at."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.scale import Scale


@pytest.fixture(scope="session")
def scale() -> Scale:
    return Scale.wanted()


@pytest.fixture
def folder() -> Iterator[Path]:
    """Not pytest's tmp_path: an unprivileged lb must reach it, and a socket's path has room for 107 bytes."""
    made = Path(tempfile.mkdtemp(prefix="lb-e2e-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)
