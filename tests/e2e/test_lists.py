"""A list in a file of its own is applied as the configuration is: when it is saved, without an order."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.endpoints import endpoint
from tests.support.lb_process import LbProcess, one_pool, running_lb
from tests.support.ports import free_port
from tests.support.waiting import eventually

NOBODY_HERE = "# nobody of this machine\n192.0.2.0/24\n"
MORE = NOBODY_HERE + "198.51.100.7 # a test network, too\n"
WRONG = NOBODY_HERE + "198.51.100.300\n"

APPLIED_WITHIN_S = 10.0  # the poll is every 2 s


def generation(lb: LbProcess) -> float:
    return lb.metrics().sum("lb_config_generation")


def last_reload(lb: LbProcess) -> dict[str, object]:
    return dict(lb.status()["config"]["last_reload"])


@pytest.mark.parametrize("way", ["in place", "by rename", "by symlink"])
def test_list_saved_is_applied_without_an_order(way: str, folder: Path) -> None:
    path = folder / "blocked.txt"
    if way == "by symlink":
        for version, text in (("v1", NOBODY_HERE), ("v2", MORE)):
            (folder / version).mkdir()
            (folder / version / "blocked.txt").write_text(text)
        (folder / "..data").symlink_to("v1")
        path.symlink_to("..data/blocked.txt")
    else:
        path.write_text(NOBODY_HERE)
    with endpoint("http", "a", folder) as a:
        text = one_pool(free_port(), {"a": a.port}, listener={"deny": {"file": "blocked.txt"}}, workers=1)
        with running_lb(text, folder) as lb:
            before = generation(lb)
            if way == "in place":
                path.write_text(MORE)
            elif way == "by rename":
                path.with_suffix(".new").write_text(MORE)
                path.with_suffix(".new").rename(path)
            else:
                (folder / "..new").symlink_to("v2")
                (folder / "..new").rename(folder / "..data")
            start_s = time.monotonic()
            reason = "the list is in effect"
            eventually(lambda: generation(lb) > before, within_s=APPLIED_WITHIN_S, reason=reason)
            print(f"\nsaved {way}: applied after {time.monotonic() - start_s:.2f} s")
            assert lb.reload()["changed"] == []


def test_list_that_is_wrong_changes_nothing_until_it_is_mended(folder: Path) -> None:
    path = folder / "blocked.txt"
    path.write_text(NOBODY_HERE)
    with endpoint("http", "a", folder) as a:
        text = one_pool(free_port(), {"a": a.port}, listener={"deny": {"file": "blocked.txt"}}, workers=1)
        with running_lb(text, folder) as lb:
            before = generation(lb)
            path.write_text(WRONG)
            eventually(
                lambda: not last_reload(lb)["success"], within_s=APPLIED_WITHIN_S, reason="it is refused"
            )
            assert f"{path}:3:1: listeners.web.deny.file: '198.51.100.300'" in str(last_reload(lb)["errors"])
            assert generation(lb) == before
            refused = lb.command("reload")
            assert refused.returncode == 1
            assert f"{path}:3:1:" in refused.stdout + refused.stderr
            path.write_text(MORE)
            eventually(lambda: generation(lb) > before, within_s=APPLIED_WITHIN_S, reason="it is applied")
            eventually(lambda: last_reload(lb)["success"], within_s=5, reason="the reload has ended well")
