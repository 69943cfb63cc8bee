"""The data path under the address and undefined-behaviour sanitizers: a part here, all by ./dev sanitize."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support import sanitized

WITHIN_S = 900.0
PARTS = (
    "tests/datapath/test_debug_build.py",
    "tests/datapath/test_relay.py",
    "tests/datapath/test_reset.py",
    "tests/faults/test_nth_failure.py",
)


@pytest.mark.skipif("LB_SANITIZED" in os.environ, reason="the sanitizers watch already")
@pytest.mark.timeout(2 * WITHIN_S)
def test_data_path_under_the_sanitizers_has_no_finding() -> None:
    sanitized.build()
    engine = next((sanitized.TREE / "ext").glob("engine.*.so"))
    assert b"__asan_init" in engine.read_bytes(), "the extension was compiled without the sanitizers"
    done = sanitized.run(["-q", *PARTS], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=WITHIN_S)
    assert done.returncode == 0, done.stdout[-20_000:]
    assert " passed" in done.stdout, "nothing was run"


@pytest.mark.skipif("LB_SANITIZED" in os.environ, reason="the sanitizers watch already")
@pytest.mark.timeout(2 * WITHIN_S)
def test_memory_that_is_never_freed_is_reported(tmp_path: Path) -> None:
    """The run above would be as quiet if nobody looked."""
    leaking = tmp_path / "test_leak.py"
    leaking.write_text(
        "import ctypes\n"
        "def test_leak():\n"
        "    memory = ctypes.CDLL(None).malloc\n"
        "    memory.restype = ctypes.c_void_p\n"
        "    for _ in range(10):\n"
        "        memory(12345)\n"
    )
    sanitized.build()
    done = sanitized.run(
        ["-q", "-c", os.devnull, str(leaking)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=WITHIN_S,
    )
    assert done.returncode != 0 and "LeakSanitizer" in done.stdout, done.stdout
