"""Lists of networks in files of their own."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from lb.config import ConfigError, Loaded, diff, load
from lb.config.lists import NETWORKS_MAX
from lb.config.networks import gathered, read_member
from lb.config.problem import AND_MORE, PROBLEMS_MAX
from lb.model.networks import Networks

POOLS = "pools: {web: {endpoints: [10.0.0.1:80]}}\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lb.yaml"


def write(path: Path, *listeners: str) -> None:
    """A configuration with listeners that say this of themselves."""
    each = "".join(
        f"  l{number}: {{bind: 127.0.0.1:{number + 1}, pool: web, {said}}}\n"
        for number, said in enumerate(listeners)
    )
    path.write_text(f"listeners:\n{each}{POOLS}")


def refused(path: Path) -> ConfigError:
    with pytest.raises(ConfigError) as raised:
        load(path)
    return raised.value


def read(path: Path, text: str) -> Loaded:
    (path.parent / "list.txt").write_text(text)
    write(path, "deny: {file: list.txt}")
    return load(path)


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("10.0.0.0/8\n", ["10.0.0.0/8"]),
        ("10.0.0.0/8", ["10.0.0.0/8"]),
        ("10.0.0.0/9\r\n\r\n10.128.0.0/9\r\n", ["10.0.0.0/8"]),
        ("# all of it\n\n  10.0.0.1   # one\n\t\n2001:db8::/32#two\n   # three\nunix:\n",
         ["10.0.0.1", "2001:db8::/32", "unix:"]),
        ("10.0.0.1\n10.0.0.1\n", ["10.0.0.1"]),
        ("", []),
        ("#", []),
    ],
)  # fmt: skip
def test_list_has_a_network_per_line_and_comments(path: Path, text: str, networks: list[str]) -> None:
    assert read(path, text).config.listeners[0].deny == Networks.parse(networks)


def test_name_of_a_list_starts_from_the_folder_of_the_configuration(path: Path) -> None:
    (path.parent / "lists").mkdir()
    (path.parent / "lists" / "a.txt").write_text("10.0.0.1\n")
    absolute = path.parent / "b.txt"
    absolute.write_text("10.0.0.2\n")
    write(path, f"allow: {{file: lists/a.txt}}, accept_proxy: {{from: {{file: {absolute}}}}}")
    loaded = load(path)
    listener = loaded.config.listeners[0]
    assert (listener.allow, listener.accept_proxy) == (
        Networks.parse(["10.0.0.1"]), Networks.parse(["10.0.0.2"]),
    )  # fmt: skip
    assert loaded.lists == {
        str(path.parent / "lists/a.txt"): hashlib.sha256(b"10.0.0.1\n").hexdigest(),
        str(absolute): hashlib.sha256(b"10.0.0.2\n").hexdigest(),
    }


def test_list_that_many_listeners_name_is_read_once_and_one_value(path: Path) -> None:
    (path.parent / "list.txt").write_text("10.0.0.0/8\n")
    path.write_text(
        "defaults: {deny: {file: list.txt}}\nlisteners:\n  a: {bind: 127.0.0.1:1, pool: web}\n"
        "  b: {bind: 127.0.0.1:2, pool: web}\n  c: {bind: 127.0.0.1:3, pool: web, deny: []}\n" + POOLS
    )
    a, b, c = load(path).config.listeners
    assert a.deny is b.deny is not None
    assert c.deny is None


def test_change_of_a_list_is_a_change_of_the_key_that_names_it(path: Path) -> None:
    old, new = read(path, "10.0.0.0/8\n").config, read(path, "10.0.0.0/9\n").config
    assert [str(change) for change in diff(old, new).changes] == ["listener l0 changed: deny"]
    assert not diff(old, read(path, "# the same, said otherwise\n10.0.0.0/9\n10.128.0.0/9\n").config)


def test_problem_in_a_list_is_told_with_its_file_and_line(path: Path) -> None:
    text = "# blocked\n10.0.0.1/8\n  ::ffff:1.2.3.4 # mapped\n10.0.0.0/8\na.example.com\n1.2.3.4; why\n"
    (path.parent / "list.txt").write_text(text)
    write(path, "deny: {file: list.txt}, polcy: 1", "allow: {file: list.txt}")
    error = refused(path)
    file = path.with_name("list.txt")
    wanted = "is not a network; write it as ADDRESS/BITS, for example 10.0.0.0/8"
    assert list(map(str, error.problems)) == [
        f"{path}:2:62: listeners.l0.polcy: unknown key; did you mean `pool`?",
        f"{file}:2:1: listeners.l0.deny.file: '10.0.0.1/8' has bits beyond its prefix; write 10.0.0.0/8",
        f"{file}:3:3: listeners.l0.deny.file: `::ffff:1.2.3.4` is IPv4 in IPv6; write 1.2.3.4/32 instead",
        f"{file}:5:1: listeners.l0.deny.file: 'a.example.com' {wanted}",
        f"{file}:6:1: listeners.l0.deny.file: '1.2.3.4; why' {wanted}; a comment begins with #",
    ]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"10.0.0.1\n# caf\xe9\n", "2:6: the byte 0xe9 is not UTF-8; save the file as UTF-8"),
        (b"\xef\xbb\xbf10.0.0.1\n", "1:1: a byte order mark; save the file as UTF-8 without one"),
        (b"10.0.0.1\n10.0\x00.0.2\n", "2:5: the character U+0000 cannot stand in a list"),
        (b"#" * (4 * 2**20 + 1), " is larger than 4 MiB"),
    ],
)
def test_list_that_is_no_text_is_refused_at_the_byte(path: Path, data: bytes, problem: str) -> None:
    file = path.with_name("list.txt")
    file.write_bytes(data)
    write(path, "deny: {file: list.txt}")
    assert str(refused(path)) == f"{file}:{problem}"


@pytest.mark.parametrize("kind", ["absent", "folder", "pipe", "device"])
def test_list_that_cannot_be_read_is_a_problem_of_the_key(path: Path, kind: str) -> None:
    file = path.with_name("list.txt")
    why = "it is not a regular file"
    match kind:
        case "absent":
            why = "No such file or directory"
        case "folder":
            file.mkdir()
            why = "Is a directory"
        case "pipe":
            os.mkfifo(file)
        case "device":
            file.symlink_to("/dev/zero")
    write(path, "deny: {file: list.txt}")
    error = refused(path)
    assert str(error) == f"{path}:2:51: listeners.l0.deny.file: {file} cannot be read: {why}"
    assert error.lists == {str(file): None}


@pytest.mark.parametrize("key", ["allow", "accept_proxy"])
def test_list_that_lets_nobody_in_is_refused(path: Path, key: str) -> None:
    """It is more likely half-written than meant."""
    (path.parent / "list.txt").write_text("# to be filled\n")
    write(path, "allow: {file: list.txt}" if key == "allow" else "accept_proxy: {from: {file: list.txt}}")
    assert "`list.txt` has no network in it" in str(refused(path))


def test_refused_configuration_tells_its_lists_all_the_same(path: Path) -> None:
    (path.parent / "list.txt").write_text("10.0.0.1\n")
    write(path, "deny: {file: list.txt}, polcy: 1")
    assert list(refused(path).lists) == [str(path.with_name("list.txt"))]


def test_lists_are_bounded_together(path: Path) -> None:
    for name in "ab":
        text = "".join(f"10.{number >> 8}.{number & 255}.0/24\n" for number in range(60_000))
        path.with_name(name).write_text(text)
    write(path, "deny: {file: a}", "deny: {file: b}")
    assert str(refused(path)) == (
        f"{path.with_name('b')}:40001:1: listeners.l1.deny.file: "
        f"more than {NETWORKS_MAX} networks up to here, in all lists together"
    )


def test_comments_of_lists_are_bounded_together(path: Path) -> None:
    for name in "abc":
        path.with_name(name).write_text(f"10.0.0.1\n#{'-' * 3 * 2**20}\n")
    write(path, *(f"deny: {{file: {name}}}" for name in "abc"))
    assert str(refused(path)) == (
        f"{path}:4:51: listeners.l2.deny.file: the lists are larger than 8 MiB together"
    )


def test_problems_of_a_list_are_told_up_to_a_sensible_number(path: Path) -> None:
    (path.parent / "list.txt").write_text("nonsense\n" * 90_000)
    write(path, "deny: {file: list.txt}")
    problems = refused(path).problems
    assert len(problems) == PROBLEMS_MAX + 1
    assert problems[-1].message == AND_MORE
    assert problems[-1].file == str(path.with_name("list.txt"))


def test_members_together_are_what_the_model_makes_of_them() -> None:
    texts = ["10.0.0.0/8", "unix:", "10.254.0.0/15", "11.0.0.0/8", "::1", "2001:db8::/32"]
    assert gathered(map(read_member, texts)) == Networks.parse(texts)


def test_list_in_the_configuration_itself_is_bounded_and_says_where_a_longer_one_goes(path: Path) -> None:
    write(
        path, f"deny: [{'10.0.0.1, ' * 16_380}]", "allow: [10.0.0.1, 10.0.0.2], accept_proxy: {from: '::1'}"
    )
    load(path)
    write(
        path, f"deny: [{'10.0.0.1, ' * 16_380}]", "allow: [10.0.0.1, 10.0.0.2], deny: [10.0.0.3, '::', '::1']"
    )
    assert str(refused(path)) == (
        f"{path}:1:1: listeners: 16385 networks; at most 16384; put them into a file: `{{file: path}}`"
    )
