"""`lb reload` tells what changed, or every problem."""

import json

from lb.cli.failure import THE_ANSWER_IS_NO
from tests.support.fake_lb import FakeLb, Lb

RELOAD = "POST /api/v1/reload"
PROBLEM = {
    "file": "lb.yaml",
    "line": 7,
    "column": 5,
    "path": "pools.web.polcy",
    "message": "unknown key",
    "suggestion": "did you mean `policy`?",
}
BIND = PROBLEM | {"line": 0, "column": 0, "path": "", "message": "cannot listen", "suggestion": None}


def test_reload_that_was_taken_prints_changes_and_warnings(lb: Lb, server: FakeLb) -> None:
    server.answers[RELOAD] = (
        200,
        {"ok": True, "generation": 9, "changed": ["endpoint web/c added"], "warnings": ["pool old: unused"]},
    )
    assert lb("reload") == (0, "endpoint web/c added\nwarning: pool old: unused\ngeneration 9\n", "")


def test_reload_of_the_same_file_says_so(lb: Lb, server: FakeLb) -> None:
    server.answers[RELOAD] = 200, {"ok": True, "generation": 9, "changed": [], "warnings": []}
    assert lb("reload") == (0, "nothing to change: what the file says is in effect\ngeneration 9\n", "")


def test_reload_that_was_refused_prints_every_problem_and_exits_1(lb: Lb, server: FakeLb) -> None:
    server.answers[RELOAD] = 422, {"ok": False, "errors": [PROBLEM, BIND]}
    ended = lb("reload")
    assert (ended.code, ended.out) == (THE_ANSWER_IS_NO, "")
    assert ended.err == (
        "lb: refused, the old configuration stays:\n"
        "lb.yaml:7:5: pools.web.polcy: unknown key; did you mean `policy`?\n"
        "lb.yaml: cannot listen\n"
    )


def test_reload_that_may_not_be_asked_for_says_why(lb: Lb, server: FakeLb) -> None:
    server.answers[RELOAD] = 409, {"error": "lb drains", "suggestion": None}
    assert lb("reload") == (THE_ANSWER_IS_NO, "", "lb: lb drains\n")


def test_reload_as_json_prints_the_answer_and_exits_by_it(lb: Lb, server: FakeLb) -> None:
    server.answers[RELOAD] = 422, {"ok": False, "errors": [PROBLEM]}
    ended = lb("reload", "--json")
    assert (ended.code, json.loads(ended.out)["errors"]) == (THE_ANSWER_IS_NO, [PROBLEM])
