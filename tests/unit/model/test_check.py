"""A check: its type, and where its probes go."""

from __future__ import annotations

import pytest

from lb.model.address import Address
from lb.model.check import Check, Dialog, HttpRequest, ProbeResult, TlsRule

ENDPOINT = Address("10.0.0.1", 80)


def test_type_follows_from_what_is_asked() -> None:
    assert (Check().type, Check(tls=TlsRule()).type) == ("tcp", "tls")
    assert (Check(HttpRequest()).type, Check(HttpRequest(), TlsRule()).type) == ("http", "https")
    assert Check(Dialog(())).type == "send_expect"


@pytest.mark.parametrize(
    ("check", "target"),
    [
        (Check(), ENDPOINT),
        (Check(port=81), Address("10.0.0.1", 81)),
        (Check(address="::1"), Address("::1", 80)),
        (Check(address="127.0.0.1", port=81), Address("127.0.0.1", 81)),
    ],
)
def test_probe_goes_where_the_check_says_else_to_the_endpoint(check: Check, target: Address) -> None:
    assert check.target(ENDPOINT) == target


def test_results_are_equal_whatever_time_they_took() -> None:
    assert ProbeResult(True, "200", 0.1) == ProbeResult(True, "200", 0.2)
