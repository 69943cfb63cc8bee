"""The ways to reach the running lb, and not to reach it."""

import errno
import socket
from pathlib import Path

import pytest

from lb.cli.client import Client, UnixConnection
from lb.cli.failure import NOT_REACHABLE, THE_ANSWER_IS_NO, Failure
from tests.support.fake_lb import FakeLb


def failure_of(client: Client) -> Failure:
    with pytest.raises(Failure) as error:
        client.get("/api/v1/status")
    return error.value


def test_answer_is_the_json_of_the_body(server: FakeLb) -> None:
    server.answers["GET /api/v1/status"] = 200, {"pid": 1}
    assert Client(str(server.path)).get("/api/v1/status") == {"pid": 1}


def test_refusal_is_told_with_its_suggestion(server: FakeLb) -> None:
    server.answers["GET /api/v1/status"] = 403, {"error": "not allowed", "suggestion": "ask root"}
    failure = failure_of(Client(str(server.path)))
    assert (str(failure), failure.exit_code) == ("not allowed; ask root", THE_ANSWER_IS_NO)


def test_post_gives_back_a_no_for_the_command_to_word(server: FakeLb) -> None:
    server.answers["POST /api/v1/reload"] = 422, {"ok": False}
    answer = Client(str(server.path)).post("/api/v1/reload")
    assert (answer.ok, answer.body) == (False, {"ok": False})


def test_error_of_lb_itself_is_never_a_yes(server: FakeLb) -> None:
    server.answers["POST /api/v1/reload"] = 500, b"Internal Server Error"
    with pytest.raises(Failure, match="lb failed to answer POST /api/v1/reload: Internal Server Error"):
        Client(str(server.path)).post("/api/v1/reload")


def test_socket_that_does_not_exist_is_named_with_what_to_do(tmp_path: Path) -> None:
    failure = failure_of(Client(str(tmp_path / "admin.sock")))
    assert failure.exit_code == NOT_REACHABLE
    assert str(failure) == (
        f"cannot reach lb: {tmp_path}/admin.sock does not exist; is lb running? Name another socket with "
        "--socket, or the configuration file with -c"
    )


def test_socket_of_an_lb_that_ended_is_told_apart(tmp_path: Path) -> None:
    path = str(tmp_path / "admin.sock")
    socket.socket(socket.AF_UNIX).bind(path)
    assert "has nobody behind it" in str(failure_of(Client(path)))


def test_file_that_is_no_socket_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "admin.sock").write_text("")
    assert failure_of(Client(str(tmp_path / "admin.sock"))).exit_code == NOT_REACHABLE


def test_path_too_long_for_a_socket_is_told(tmp_path: Path) -> None:
    assert failure_of(Client(str(tmp_path / ("x" * 120)))).exit_code == NOT_REACHABLE


def test_socket_of_another_user_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def connect(self: UnixConnection) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(UnixConnection, "connect", connect)
    assert "is not yours to use" in str(failure_of(Client("/run/lb/admin.sock")))


def test_lb_that_hangs_is_given_up_at_the_deadline(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as hanging:
        hanging.bind(str(tmp_path / "admin.sock"))
        hanging.listen()
        failure = failure_of(Client(str(tmp_path / "admin.sock"), timeout_s=0.05))
    assert failure.exit_code == NOT_REACHABLE
    assert "did not answer in time" in str(failure)


def test_events_are_the_data_lines_of_the_stream(server: FakeLb) -> None:
    server.answers["GET /api/v1/events"] = (
        200,
        b': hello\n\nid: 1\ndata: {"event": "a"}\n\ndata: {"event": "b"}\n\n',
    )
    assert list(Client(str(server.path)).events("/api/v1/events", follow=True)) == [
        {"event": "a"},
        {"event": "b"},
    ]


def test_events_that_break_off_in_the_middle_are_told(server: FakeLb) -> None:
    server.answers["GET /api/v1/events"] = 200, b'data: {"event": "a"}\n\ndata: {"eve'
    events = Client(str(server.path)).events("/api/v1/events", follow=True)
    assert next(events) == {"event": "a"}
    with pytest.raises(Failure, match="broke off"):
        next(events)
