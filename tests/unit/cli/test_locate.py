"""Which socket the running lb is asked through."""

from pathlib import Path

import pytest

from lb.cli.failure import NOT_REACHABLE, Failure
from lb.cli.locate import admin_socket, socket_in

DEFAULT = "/run/lb/admin.sock"


@pytest.mark.parametrize(
    ("text", "socket"),
    [
        ("", DEFAULT),
        ("listeners: {}\n", DEFAULT),
        ("runtime_dir: /tmp/x\n", "/tmp/x/admin.sock"),
        ("runtime_dir: /tmp/x\nadmin: {socket: /tmp/y.sock}\n", "/tmp/y.sock"),
        ("admin:\n  bind: 127.0.0.1:1\n  socket: '/tmp/y.sock'\n", "/tmp/y.sock"),
        ('runtime_dir: "${FOLDER:-/tmp/z}"\n', "/tmp/set/admin.sock"),
        ('runtime_dir: "${OTHER:-/tmp/z}"\n', "/tmp/z/admin.sock"),
        ('runtime_dir: "${OTHER}"\n', DEFAULT),
        ("pools: {a: {runtime_dir: /no}, socket: /no}\nx: [runtime_dir, /no]\n", DEFAULT),
    ],
)
def test_socket_of_a_configuration_is_found(text: str, socket: str) -> None:
    assert socket_in(text, {"FOLDER": "/tmp/set"}) == socket


@pytest.mark.parametrize("broken", ["polls: {}", "a: [1,", "a: b: c", "\t", "a: *nobody", "- 1", "? [x"])
def test_socket_of_a_broken_configuration_is_found_as_well(broken: str) -> None:
    """`lb reload` must reach lb to hear what is wrong with the file."""
    assert socket_in(f"runtime_dir: /tmp/x\nlisteners: {{}}\n{broken}\n", {}) == "/tmp/x/admin.sock"


def test_socket_that_is_named_comes_first(tmp_path: Path) -> None:
    assert admin_socket(Path("/tmp/named.sock"), tmp_path / "absent.yaml") == "/tmp/named.sock"


def test_configuration_that_is_named_is_read(tmp_path: Path) -> None:
    path = tmp_path / "lb.yaml"
    path.write_text("runtime_dir: /tmp/x\n")
    assert admin_socket(None, path) == "/tmp/x/admin.sock"


def test_configuration_that_is_named_and_absent_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="No such file") as error:
        admin_socket(None, tmp_path / "absent.yaml")
    assert error.value.exit_code == NOT_REACHABLE


def test_default_configuration_may_be_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("lb.cli.locate.CONFIG", tmp_path / "absent.yaml")
    assert admin_socket(None, None) == DEFAULT
