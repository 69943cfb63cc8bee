"""`lb check`: the answer, the exit code, and the line with a caret below what is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.fake_lb import Lb

GOOD = """\
listeners: {web: {bind: 127.0.0.1:8080, pool: web}}
pools: {web: {endpoints: [10.0.0.1:80, 10.0.0.2:80]}}
"""
BAD = """\
listeners:
  web:
    bind: 127.0.0.1:8080
    pool: wep
pools:
  web:
    endpoint: [10.0.0.1:80]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lb.yaml"


def test_check_of_a_good_file_counts_what_is_in_it(lb: Lb, path: Path) -> None:
    path.write_text(GOOD)
    assert lb("check", "-c", str(path)) == (0, f"{path}: fine (1 listener, 1 pool, 2 endpoints)\n", "")


def test_check_of_an_odd_file_is_fine_and_warns(lb: Lb, path: Path) -> None:
    path.write_text(GOOD.replace("80]}}", "80]},\n  db: {endpoints: []}}"))
    ended = lb("check", "-c", str(path))
    assert ended.code == 0
    assert ended.out.splitlines()[1:4] == [
        f"warning: {path}:3:3: pools.db: no listener uses this pool",
        "     3 |   db: {endpoints: []}}",
        "           ^",
    ]


def test_check_of_a_bad_file_shows_every_problem_with_its_line(lb: Lb, path: Path) -> None:
    path.write_text(BAD)
    ended = lb("check", "-c", str(path))
    assert ended.code == 1
    assert ended.out.splitlines() == [
        f"{path}:4:11: listeners.web.pool: there is no pool `wep`; did you mean `web`?",
        "     4 |     pool: wep",
        "                   ^",
        f"{path}:6:3: pools.web: `endpoints` is missing",
        "     6 |   web:",
        "           ^",
        f"{path}:7:5: pools.web.endpoint: unknown key; did you mean `endpoints`?",
        "     7 |     endpoint: [10.0.0.1:80]",
        "             ^",
    ]


def test_check_shows_the_line_of_the_list_that_is_wrong(lb: Lb, path: Path) -> None:
    path.write_text(GOOD.replace("pool: web}", "pool: wep, deny: {file: list.txt}}"))
    path.with_name("list.txt").write_text("10.0.0.0/8\n10.0.0.0/33 # typo\n")
    ended = lb("check", "-c", str(path))
    assert ended.code == 1
    assert ended.out.splitlines()[3:] == [
        f"{path.with_name('list.txt')}:2:1: listeners.web.deny.file: '10.0.0.0/33' is not a network; "
        "write it as ADDRESS/BITS, for example 10.0.0.0/8",
        "     2 | 10.0.0.0/33 # typo",
        "         ^",
    ]


def test_check_shows_the_part_of_a_long_line_that_matters(lb: Lb, path: Path) -> None:
    path.write_text(f"user: [{'x, ' * 1000}]\nlog: {{level: 你好, fromat: text}} # {'x' * 1000}\n")
    lines = lb("check", "-c", str(path)).out.splitlines()
    assert all(len(line) < 200 for line in lines)
    told = next(index for index, line in enumerate(lines) if "log.fromat: unknown key" in line)
    wide = 2  # each of the Chinese characters takes two columns of a terminal
    assert lines[told + 2].index("^") == lines[told + 1].index("fromat") + wide


def test_check_of_a_missing_file_says_so(lb: Lb, path: Path) -> None:
    assert lb("check", "-c", str(path)) == (1, f"{path}: cannot be read: No such file or directory\n", "")


def test_check_of_a_file_that_is_no_text_shows_no_line(lb: Lb, path: Path) -> None:
    path.write_bytes(b"a: \xff\n")
    assert (
        lb("check", "-c", str(path)).out
        == f"{path}:1:4: the byte 0xff is not UTF-8; save the file as UTF-8\n"
    )


def test_check_finds_the_file_by_the_environment(lb: Lb, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_text(GOOD)
    monkeypatch.setenv("LB_CONFIG", str(path))
    assert lb("check").code == 0


def test_check_for_programs_is_json(lb: Lb, path: Path) -> None:
    path.write_text(GOOD)
    fine = lb("check", "-c", str(path), "--json")
    assert (fine.code, json.loads(fine.out)) == (
        0, {"ok": True, "listeners": 1, "pools": 1, "endpoints": 2, "warnings": []},
    )  # fmt: skip
    path.write_text(BAD)
    bad = lb("check", "-c", str(path), "--json")
    assert bad.code == 1
    assert json.loads(bad.out)["errors"][0] == {
        "file": str(path),
        "line": 4,
        "column": 11,
        "path": "listeners.web.pool",
        "message": "there is no pool `wep`",
        "suggestion": "did you mean `web`?",
    }
