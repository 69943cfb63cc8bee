"""Outlier ejection: an endpoint that fails sessions in a row is set aside, whatever its check says.

    the n-th time in a row     set aside for n x ejection, up to ejection_max (Envoy's rule)

n begins anew once an endpoint was back for ejection_max. Real sessions see what no check may see; but they
also fail for reasons that are the client's or the network's. So there are two bounds: no more than a part of
a pool is set aside at a time, and never so many that fewer than min_eligible are left.
"""

from __future__ import annotations

from lb.model.pool import OutlierRule


def ejection_s(rule: OutlierRule, times: int) -> float:
    """For how long, the `times`-th time in a row."""
    return min(rule.ejection_max_s, rule.ejection_s * times)


def ejected_max(rule: OutlierRule, endpoints: int) -> int:
    """How many of so many may be set aside at a time: the percentage rounds up."""
    return -(-endpoints * rule.eject_max_percent // 100)
