"""The command line, run in this process against a fake lb."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from lb.cli import main
from tests.support.fake_lb import Ended, FakeLb, Lb, fake_lb


@pytest.fixture
def server(tmp_path: Path) -> Iterator[FakeLb]:
    with fake_lb(tmp_path) as running:
        yield running


@pytest.fixture
def lb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Lb:
    """Runs `lb WORDS`, which finds the fake lb by LB_ADMIN_SOCKET."""
    monkeypatch.setenv("LB_ADMIN_SOCKET", str(tmp_path / "admin.sock"))
    monkeypatch.delenv("LB_CONFIG", raising=False)

    def run(*words: str) -> Ended:
        before = signal.getsignal(signal.SIGINT)
        try:
            with pytest.raises(SystemExit) as ended:
                main(words)
        finally:
            signal.signal(signal.SIGINT, before)  # the tests' own Ctrl-C
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run
