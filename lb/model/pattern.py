"""Patterns of checks. RE2's are matched in linear time: no answer of an endpoint holds up the loop."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import re2


@lru_cache(maxsize=1024)
def compiled(pattern: str) -> Any:
    """It searches bytes, each of which is a character; one beyond ASCII is its bytes in UTF-8. Raises
    re2.error."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.log_errors = False
    return re2.compile(pattern.encode(), options)
