"""How large a test runs: small in CI, at the size of the promise with LB_E2E_SCALE=full."""

from __future__ import annotations

import os
from typing import NamedTuple


class Scale(NamedTuple):
    full: bool

    @classmethod
    def wanted(cls) -> Scale:
        return cls(os.environ.get("LB_E2E_SCALE") == "full")

    def of(self, *, full: int, ci: int) -> int:
        return full if self.full else ci
