"""The debug build aborts where an invariant breaks; a release build holds no trace of its checks.

Which of them the tests run on is said by LB_DEBUG, as `./dev` is told.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import lb._ext
from tests.support.source import ROOT

IS_DEBUG = os.environ.get("LB_DEBUG", "0") != "0"
WITHIN_S = 60.0

# A descriptor of a session is closed behind the engine's back, which then closes it for a second time.
CLOSED_TWICE = """
import os
from pathlib import Path
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.scripted_endpoint import ScriptedEndpoint
from tests.support.stage import connecting

endpoint = ScriptedEndpoint()
bench = EngineBench(snapshot_of([endpoint.address]))
open_fds = lambda: {int(one.name) for one in Path("/proc/self/fd").iterdir()}
client = connecting(bench.address)
before = open_fds()
bench.turn_until(lambda: bench.engine.held()["descriptors"] == 2)
for fd in sorted(open_fds() - before):
    try:
        os.close(fd)
    except OSError:
        continue  # the one that listed them
bench.close()
print("closed")
"""


def test_descriptor_closed_twice_aborts_the_debug_build_with_its_place() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLOSED_TWICE],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    if IS_DEBUG:
        assert done.returncode == -signal.SIGABRT, done
        assert "lb: bug: lb/_ext/" in done.stderr, done.stderr
        assert ".pyx:" in done.stderr or ".pxd:" in done.stderr, "the place is one of ours, not of the C"
        assert "a descriptor is closed twice" in done.stderr
    else:
        assert (done.returncode, done.stdout) == (0, "closed\n"), done


def test_compiled_modules_hold_the_checks_of_a_debug_build_only() -> None:
    modules = [path for folder in lb._ext.__path__ for path in Path(folder).glob("*.so")]
    checking = {path.name.split(".")[0] for path in modules if b"lb: bug: " in path.read_bytes()}
    if IS_DEBUG:
        assert {"engine", "ending", "slab", "wheel"} <= checking
    else:
        assert not checking, "compiled with LB_DEBUG: run ./dev build, or the tests with LB_DEBUG=1"
