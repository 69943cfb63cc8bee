"""Values from the environment: `${NAME}`, `${NAME:-default}`, and `$${` for a plain `${`.

What is put in is never read as YAML and never looked through again, so a value cannot add keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from lb.config.problem import BadValue, quoted

REFERENCE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}|\$\{")


def substitute(text: str, environment: Mapping[str, str], *, length_max: int) -> str:
    """As in a shell, the default also stands in for a variable that is empty."""
    parts: list[str] = []
    length, end = 0, 0
    for match in REFERENCE.finditer(text):
        parts += text[end : match.start()], value_of(match, environment)
        length += len(parts[-1]) + len(parts[-2])
        if length > length_max:
            break
        end = match.end()
    parts.append(text[end:])
    if length + len(parts[-1]) > length_max:
        raise BadValue(f"is longer than {length_max} characters")
    return "".join(parts)


def value_of(match: re.Match[str], environment: Mapping[str, str]) -> str:
    name, default = match[1], match[2]
    if match[0] == "$${":
        return "${"
    if name is None:
        shown = quoted(match.string[match.start() :])
        raise BadValue(
            f"{shown} is not a reference", "write ${NAME} or ${NAME:-default}, or $${ for a plain ${"
        )
    value = environment.get(name) or default
    if value is None and name not in environment:
        raise BadValue(
            f"the environment variable {name} is not set", f"${{{name}:-...}} would give a default"
        )
    return value or ""
