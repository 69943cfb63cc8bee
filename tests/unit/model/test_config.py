"""The whole configuration, as a value."""

from __future__ import annotations

from lb.model.config import AdminPlane, Config


def test_admin_socket_stands_in_the_runtime_folder_unless_it_is_named() -> None:
    assert Config((), ()).admin_socket == "/run/lb/admin.sock"
    assert Config((), (), runtime_dir="/tmp/lb").admin_socket == "/tmp/lb/admin.sock"
    assert Config((), (), admin=AdminPlane(socket="/tmp/a.sock")).admin_socket == "/tmp/a.sock"


def test_configurations_with_the_same_content_are_equal() -> None:
    assert Config((), ()) == Config((), ())
    assert hash(Config((), ())) == hash(Config((), ()))
