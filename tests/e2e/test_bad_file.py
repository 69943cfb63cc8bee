"""A broken file saved over the running one changes nothing, and says where it is broken."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.endpoints import endpoint
from tests.support.lb_process import LbProcess, running_lb
from tests.support.load import exchanges
from tests.support.ports import free_port
from tests.support.waiting import eventually

GOOD = """\
workers: 1
listeners:
  web: {{bind: "127.0.0.1:{port}", pool: web}}
pools:
  web:
    policy: round_robin
    endpoints: [{{name: a, address: "127.0.0.1:{a}"}}]
"""
BAD_KEY = GOOD.replace("    policy:", "    polcy:")
BAD_KEY_AT = "lb.yaml:6:5"
BAD_YAML = GOOD.replace("pool: web}}", "pool: web")
BAD_YAML_AT = re.compile(r"lb\.yaml:[34]:\d+")


def test_broken_file_saved_over_the_running_one_harms_nothing(folder: Path) -> None:
    with endpoint("http", "a", folder) as a:
        ports = {"port": free_port(), "a": a.port}
        with running_lb(GOOD.format(**ports), folder) as lb, exchanges(ports["port"], folder) as client:
            assert reload_success(lb) == 1
            lb.write(BAD_KEY.format(**ports))
            eventually(lambda: reload_success(lb) == 0, within_s=5, reason="the bad file is noticed")
            eventually(lambda: BAD_KEY_AT in lb.process.err(), within_s=5, reason="the log says where")
            assert lb.endpoint("a")
            assert lb.ready()
            answers_with_reasons(lb, "polcy", BAD_KEY_AT)

            lb.write(GOOD.format(**ports).replace("name: a", "name: b"))
            eventually(lambda: reload_success(lb) == 1, within_s=5, reason="the good file is noticed")
            assert lb.endpoint("b")
    print(f"\n{client.exchanges} exchanges meanwhile, failures {dict(client.kinds())}")
    assert client.exchanges > 100
    assert not client.failures


def answers_with_reasons(lb: LbProcess, word: str, place: str) -> None:
    """Every way to ask about the file says no, with the place: exit code 1."""
    for words in (["check", "-c", str(lb.path)], ["reload"]):
        done = lb.command(*words)
        said = done.stdout + done.stderr
        assert done.returncode == 1, (words, said)
        assert place in said, (words, said)
        assert word in said, (words, said)
        assert "policy" in said, (words, said)  # the suggestion
    answer = lb.reload()
    assert answer["ok"] is False
    assert (answer["errors"][0]["line"], answer["errors"][0]["column"]) == (6, 5)


def test_text_that_is_no_yaml_is_refused_with_its_place(folder: Path) -> None:
    with endpoint("http", "a", folder) as a:
        ports = {"port": free_port(), "a": a.port}
        with running_lb(GOOD.format(**ports), folder) as lb:
            generation = lb.status()["generation"]
            lb.replace(BAD_YAML.format(**ports))
            done = lb.command("reload")
            assert done.returncode == 1
            assert BAD_YAML_AT.search(done.stdout + done.stderr), done
            assert lb.status()["generation"] == generation


def test_listener_on_a_taken_port_is_refused_by_name_and_poisons_nothing(folder: Path) -> None:
    with endpoint("http", "a", folder) as a, endpoint("http", "taken", folder) as taken:
        ports = {"port": free_port(), "a": a.port}
        more = GOOD.replace("pools:\n", '  extra: {{bind: "127.0.0.1:{extra}", pool: web}}\npools:\n')
        with running_lb(GOOD.format(**ports), folder) as lb:
            lb.replace(more.format(**ports, extra=taken.port))
            done = lb.command("reload")
            said = done.stdout + done.stderr
            assert done.returncode == 1, said
            assert "extra" in said, said
            assert str(taken.port) in said, said

            lb.replace(more.format(**ports, extra=free_port()))
            done = lb.command("reload")
            assert done.returncode == 0, done
            assert [one["name"] for one in lb.status()["listeners"]] == ["web", "extra"]


def reload_success(lb: LbProcess) -> float:
    return lb.metrics().sum("lb_config_last_reload_success")
