"""A path -> a configuration: the file as it is on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from lb.config import ConfigError, load

TEXT = """\
listeners: {web: {bind: 127.0.0.1:8080, pool: web}}
pools: {web: {endpoints: ["${LB_TEST_ENDPOINT}"]}}
"""


def test_file_is_read_with_the_environment_of_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LB_TEST_ENDPOINT", "10.0.0.7:80")
    path = tmp_path / "lb.yaml"
    path.write_text(TEXT)
    loaded = load(path)
    assert str(loaded.config.pools[0].endpoints[0].address) == "10.0.0.7:80"
    assert (loaded.text, loaded.text_hash) == (TEXT, hashlib.sha256(path.read_bytes()).hexdigest())


def test_file_that_is_not_there_is_a_problem_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.yaml: cannot be read: No such file or directory"):
        load(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_file_without_end_is_read_up_to_the_bound() -> None:
    with pytest.raises(ConfigError, match="/dev/zero: is larger than 4 MiB"):
        load(Path("/dev/zero"))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"a: 1\n# caf\xe9\n", "2:6: the byte 0xe9 is not UTF-8; save the file as UTF-8"),
        ("a: 1\n".encode("utf-16"), "1:1: is UTF-16; save the file as UTF-8"),
        ("a: 1\n".encode("utf-16-be"), "1:1: the character U+0000 cannot stand in YAML"),
        (b"\xef\xbb\xbfa: 1\n", "1:1: a byte order mark; save the file as UTF-8 without one"),
        (b"a: 1\nb: x\x00y\n", "2:5: the character U+0000 cannot stand in YAML"),
        ("ä: 1\r\nä: \x1b\n".encode(), "2:4: the character U+001B cannot stand in YAML"),
    ],
)
def test_file_that_is_no_text_is_refused_at_the_byte(tmp_path: Path, data: bytes, problem: str) -> None:
    path = tmp_path / "lb.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert str(refused.value) == f"{path}:{problem}"
