"""`lb run` that cannot run says why, all of it, on stderr, and exits 1. In processes of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.source import ROOT

GOOD = """\
runtime_dir: {folder}/run
admin: {{bind: off}}
listeners: {{web: {{bind: "192.0.2.1:8000", pool: web}}}}
pools: {{web: {{endpoints: ["10.0.0.1:80"]}}}}
"""


def lb_run(path: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lb", "run", *([] if environment else ["-c", str(path)])],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_run_with_a_bad_file_prints_every_problem_and_exits_1(tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text(GOOD.format(folder=tmp_path) + "pols: 1\nlog: {level: loud}\n")
    ended = lb_run(path)
    assert (ended.returncode, ended.stdout) == (1, "")
    first, second = ended.stderr.splitlines()
    assert first.startswith(f"{path}:5:1: pols: unknown key")
    assert second.startswith(f"{path}:6:14: log.level: ")


def test_run_without_the_file_names_it(tmp_path: Path) -> None:
    path = tmp_path / "absent.yaml"
    assert lb_run(path).stderr == f"{path}: cannot be read: No such file or directory\n"


def test_run_takes_the_file_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "absent.yaml"
    assert str(path) in lb_run(path, LB_CONFIG=str(path)).stderr


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("", ""), "lb: listeners.web: cannot listen on 192.0.2.1:8000: "),
        (("/run", "/lb.yaml"), "lb: runtime_dir: cannot make "),
    ],
)
def test_run_that_cannot_start_says_why_and_exits_1(
    tmp_path: Path, change: tuple[str, str], words: str
) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text(GOOD.format(folder=tmp_path).replace(*change))
    ended = lb_run(path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(words)
    assert "Traceback" not in ended.stderr


def test_closed_standard_descriptors_are_filled_and_no_socket_gets_them() -> None:
    look = "import os; from lb.cli.run import fill_standard_descriptors as fill; fill(); fill(); "
    look += "os.set_blocking(0, True); print(*map(os.readlink, map('/proc/self/fd/{}'.format, (0, 1))), "
    look += "os.path.exists('/proc/self/fd/4'), file=open('/dev/stderr', 'w'))"
    words = ["sh", "-c", 'exec "$0" "$@" <&- >&-', sys.executable, "-c", look]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert ended.stderr == "/dev/null /dev/null False\n"
