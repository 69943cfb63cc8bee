"""What the file may say of a step of a send_expect check. A step has one key (checks.py)."""

from __future__ import annotations

from typing import Annotated

from lb.config.leaf import Bytes, Hex, Pattern
from lb.config.section import Section


class StepSection(Section):
    send: Annotated[bytes, Bytes()] | None = None
    """A text to send. In double quotes, `\\r\\n` ends a line."""
    send_hex: Annotated[bytes, Hex()] | None = None
    """Bytes to send."""
    expect: Annotated[bytes, Bytes()] | None = None
    """A text that must come, somewhere in what follows the step before."""
    expect_hex: Annotated[bytes, Hex()] | None = None
    """Bytes that must come."""
    expect_regex: Annotated[str, Pattern()] | None = None
    """A pattern (RE2) that what comes must match somewhere."""


STEP_KEYS = tuple(StepSection.fields())
