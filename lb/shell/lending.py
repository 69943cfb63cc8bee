"""Who stands in for a worker that does not serve: its sockets are lent to one that does.

A loan goes to whoever has the fewest, and stays where it is while both sides stay as they are: a socket that
moves for no reason costs a wake-up at best. With nobody serving there is no loan; the queue waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Set


def lend(absent: Set[int], serving: Set[int], loans: Mapping[int, int]) -> dict[int, int]:
    """Absent worker -> who stands in for it, given who did before."""
    kept = {owner: borrower for owner, borrower in loans.items() if owner in absent and borrower in serving}
    burden = Counter(kept.values())
    for owner in sorted(absent - kept.keys()) if serving else ():
        borrower = min(sorted(serving), key=lambda worker: burden[worker])
        kept[owner] = borrower
        burden[borrower] += 1
    return kept
