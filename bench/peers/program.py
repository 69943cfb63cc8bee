"""Where a program is, and what it calls itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from bench.process import ROOT

VERSION_TIMEOUT_S = 10


def find(name: str) -> str | None:
    """The program beside this Python, else in the checkout's .venv, else in PATH (and sbin)."""
    for folder in (Path(sys.prefix) / "bin", ROOT / ".venv" / "bin"):
        if (folder / name).exists():
            return str(folder / name)
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


def first_line(arguments: list[str]) -> str | None:
    """The first line it prints that is not empty, None when it cannot be run."""
    try:
        done = subprocess.run(
            arguments, capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[0] if lines and done.returncode == 0 else None
