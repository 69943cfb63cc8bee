"""The one place of the pure layers that reads files: a path -> a configuration."""

from __future__ import annotations

import os
from pathlib import Path

from lb.config.parse import Loaded, parse
from lb.config.problem import ConfigError, Problem
from lb.config.syntax import TEXT_MAX


def load(path: Path) -> Loaded:
    """Reads the file, and the environment for its references. Raises ConfigError."""
    return parse(read_text(path), file=str(path), environment=os.environ)


def read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(TEXT_MAX + 1)
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, 0, "", f"cannot be read: {error.strerror}")]) from None
    if len(data) > TEXT_MAX:
        message = f"is larger than {TEXT_MAX // 2**20} MiB"
        raise ConfigError([Problem(str(path), 0, 0, "", message)])
    return decoded(data, str(path))


def decoded(data: bytes, file: str) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ConfigError([Problem(file, 1, 1, "", "is UTF-16", "save the file as UTF-8")])
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        message = f"the byte 0x{data[error.start]:02x} is not UTF-8"
        raise ConfigError([Problem(file, line, column, "", message, "save the file as UTF-8")]) from None
