"""What agents say, and others in their place."""

from __future__ import annotations

import socket

import pytest

from lb.model.check import AgentQuery, AgentWords, Check, ProbeResult
from lb.model.endpoint import Agent
from lb.shell.probe import TimedOut, run_probe
from tests.support.probing import Run
from tests.support.scripted import Script, scripted

CHECK = Check(AgentQuery(), timeout_s=2.0)


def closing_after(said: bytes) -> Script:
    def script(connection: socket.socket) -> None:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)

    return script


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b"up\n", AgentWords(up=True)),
        (b"UP 75%\r\n", AgentWords(up=True, percent=75)),
        (b"down # disk full, up soon\n", AgentWords(up=False)),
        (b"failed,maint\n", AgentWords(up=False, wish=Agent.MAINT)),
        (b"ready up 0% maxconn:30\n", AgentWords(up=True, wish=Agent.READY, percent=0)),
        (b"drain", AgentWords(wish=Agent.DRAIN)),
        (b"999%", AgentWords(percent=256)),
        (b"stopped#gone\nup\n", AgentWords(up=False)),
    ],
)
def test_words_are_understood(run: Run, said: bytes, words: AgentWords) -> None:
    with scripted(closing_after(said)) as endpoint:
        shown = said.partition(b"\n")[0].strip().decode()
        assert run(run_probe(CHECK, endpoint.address)) == ProbeResult(True, shown, agent=words)
        assert endpoint.ended(1) == ["fin"]


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        (b"", "closed without an answer"),
        (b"hello\n", "no word of an agent: hello"),
        (b"# up\n", "no word of an agent: # up"),
        (b"-5% 1000% %\n", "no word of an agent: -5% 1000% %"),
        (b"\xff\x00\n", "no word of an agent: \\xff\\x00"),
    ],
)
def test_what_is_no_agent_fails(run: Run, said: bytes, detail: str) -> None:
    with scripted(closing_after(said)) as endpoint:
        assert run(run_probe(CHECK, endpoint.address)) == ProbeResult(False, detail)


def test_agent_is_told_something_first(run: Run) -> None:
    told: list[bytes] = []

    def script(connection: socket.socket) -> None:
        told.append(connection.recv(100))
        connection.sendall(b"up\n")

    with scripted(script) as endpoint:
        assert run(run_probe(Check(AgentQuery(b"how is it?\n"), timeout_s=2.0), endpoint.address)).ok
    assert told == [b"how is it?\n"]


def test_agent_that_says_nothing_times_out(run: Run) -> None:
    with scripted(lambda connection: None) as endpoint:
        result = run(run_probe(Check(AgentQuery(), timeout_s=0.2), endpoint.address))
        assert result == TimedOut(False, "timeout after 0.2 s (connected, no answer)")
