"""A Python script in a network namespace of its own, with nothing but loopback: it reaches nobody."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

PREFIX = ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
RUNS_WITHIN_S = 60.0


def run_in_netns(script: str, *arguments: str, within_s: float = RUNS_WITHIN_S) -> str:
    """Runs to its end and returns what it printed; skips the test where namespaces are not to be had."""
    try:
        subprocess.run([*PREFIX, "true"], check=True, capture_output=True, timeout=RUNS_WITHIN_S)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no network namespace: {error}")
    done = subprocess.run(
        [*PREFIX, sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        timeout=within_s,
    )
    assert done.returncode == 0, f"exit {done.returncode}: {done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout


@contextmanager
def neighbour(name: str, ours: str, theirs: str) -> Iterator[str]:
    """Within `run_in_netns`: one more namespace, behind a pair of interfaces. Ours is called `name`; the
    addresses are of one /24. Yields the path of the namespace."""
    process = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo; exec sleep 900"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        inside = ["nsenter", "-t", str(process.pid), "-n"]
        for words in (
            ["ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(process.pid)],
            ["ip", "address", "add", f"{ours}/24", "dev", name],
            ["ip", "link", "set", name, "up"],
            [*inside, "ip", "link", "set", "lo", "up"],
            [*inside, "ip", "address", "add", f"{theirs}/24", "dev", "eth0"],
            [*inside, "ip", "link", "set", "eth0", "up"],
        ):
            subprocess.run(words, check=True, timeout=RUNS_WITHIN_S)
        yield f"/proc/{process.pid}/ns/net"
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
