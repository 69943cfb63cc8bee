"""What `lb demo` runs and says. That it works is seen end to end."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lb.cli import demo
from lb.config import load

ENDPOINTS: Any = [
    SimpleNamespace(name=name, port=9000 + pid, pid=pid) for name, pid in (("a", 41), ("b", 42))
]


def test_demo_configuration_is_valid_and_needs_nothing(tmp_path: Path) -> None:
    loaded = load(demo.write_config(tmp_path, ENDPOINTS, 8000, 9900))
    config = loaded.config
    assert loaded.warnings == ()
    assert [endpoint.name for endpoint in config.pools[0].endpoints] == ["a", "b"]
    assert str(config.listeners[0].binds[0]) == "127.0.0.1:8000"
    assert config.runtime_dir == str(tmp_path)
    assert config.shutdown.orphan_s == 0  # killed hard, it leaves no worker behind
    assert config.workers.count is None


def test_demo_says_what_to_try_with_ports_pids_and_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "our_name", lambda: "lb")
    text = demo.what_to_try(tmp_path, ENDPOINTS, 8000, 9900)
    for words in (
        "  curl http://127.0.0.1:8000\n",
        "  kill 41    # a\n  kill 42    # b\n",
        f"  lb status --socket {tmp_path}/admin.sock\n",
        "  curl http://127.0.0.1:9900/metrics\n",
        f"Edit {tmp_path}/lb.yaml",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("on_path", "script", "name"),
    [
        ("/usr/bin/lb", "/usr/bin/lb", "lb"),
        (None, "/opt/lb/bin/lb", "/opt/lb/bin/lb"),
        (None, "/src/lb/__main__.py", f"{sys.executable} -m lb"),
    ],
)
def test_demo_names_lb_as_the_reader_can_type_it(
    monkeypatch: pytest.MonkeyPatch, on_path: str | None, script: str, name: str
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: on_path)
    monkeypatch.setattr("sys.argv", [script])
    assert demo.our_name() == name


def test_free_ports_differ() -> None:
    ports = demo.free_ports(20)
    assert len(set(ports)) == 20
