"""`lb demo`, as somebody tries it who has just installed lb."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from pathlib import Path

from tests.support.lb_process import LB
from tests.support.process import Process, needs
from tests.support.waiting import eventually, seconds_until


def test_demo_starts_serves_shows_a_kill_and_leaves_nothing(folder: Path) -> None:
    needs("curl")
    temporary = folder / "tmp"
    temporary.mkdir()
    demo = Process("demo", [str(LB), "demo"], folder, environment={"TMPDIR": str(temporary)})
    said = demo.out_path.read_text
    try:
        port, pid = started(demo)
        names = {curl(port) for _ in range(6)}
        assert names == {"hello from a", "hello from b", "hello from c"}

        os.kill(pid, signal.SIGKILL)
        noticed_s = seconds_until(
            lambda: re.search(r"web/a.*DOWN", said()), within_s=6, reason="the demo shows that a is DOWN"
        )
        print(f"\nkilled, shown DOWN after {noticed_s:.2f} s:\n{said()[-600:]}")
        assert {curl(port) for _ in range(6)} == {"hello from b", "hello from c"}

        demo.signal_group(signal.SIGINT)  # as a terminal does it: to all of the group
        assert demo.wait(8, "Ctrl-C ends everything") == 0
        assert demo.family() == []
        assert list(temporary.iterdir()) == []
        assert "Traceback" not in said() + demo.err()
    except BaseException as error:
        error.add_note(said() + demo.tail())
        raise
    finally:
        demo.end()


def started(demo: Process) -> tuple[int, int]:
    """The port that it serves, and the process id of endpoint a."""

    def found() -> tuple[int, int] | None:
        text = demo.out_path.read_text()
        assert demo.alive, "the demo has ended"
        port = re.search(r"http://127\.0\.0\.1:(\d+)", text)
        kill = re.search(r"kill (\d+)\s+# a", text)
        return (int(port[1]), int(kill[1])) if port and kill and "happens" in text else None

    return eventually(found, within_s=15, reason="the demo says what to try") or (0, 0)


def curl(port: int) -> str:
    words = ["curl", "-sS", "--max-time", "5", f"http://127.0.0.1:{port}/"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=10, check=False)
    assert done.returncode == 0, done
    return done.stdout.strip()
