"""Checks against the servers they are meant for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.certificates import Certificates


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return Certificates.made(tmp_path)
