"""A Python script in a network namespace of its own, with nothing but loopback: it reaches nobody."""

from __future__ import annotations

import subprocess
import sys

import pytest

PREFIX = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
RUNS_WITHIN_S = 60.0


def run_in_netns(script: str, *arguments: str) -> str:
    """Runs to its end and returns what it printed; skips the test where namespaces are not to be had."""
    try:
        subprocess.run([*PREFIX, "true"], check=True, capture_output=True, timeout=RUNS_WITHIN_S)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespace: {error}")
    done = subprocess.run(
        [*PREFIX, sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=RUNS_WITHIN_S,
    )
    assert done.returncode == 0, f"exit {done.returncode}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout
