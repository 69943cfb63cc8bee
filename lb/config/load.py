"""The one place of the pure layers that reads files: a path -> a configuration, with the lists it names."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import replace
from pathlib import Path

from lb.config.lists import ListText
from lb.config.parse import Loaded, parse
from lb.config.problem import BadValue, ConfigError, Problem
from lb.config.syntax import TEXT_MAX


def load(path: Path) -> Loaded:
    """Reads the file, and the environment for its references. Raises ConfigError."""
    lists = ListFiles(path.parent)
    try:
        loaded = parse(read_text(path), file=str(path), environment=os.environ, read_list=lists.read)
    except ConfigError as error:
        error.lists = lists.found
        raise
    return replace(loaded, lists=lists.found)


class ListFiles:
    """`found` are the paths that were asked for and the SHA-256 of each; None: it could not be read."""

    def __init__(self, folder: Path) -> None:
        self.found: dict[str, str | None] = {}
        self._folder = folder

    def read(self, name: str) -> ListText:
        path = self._folder / name
        self.found[str(path)] = None
        try:
            data = read_regular(path)
        except OSError as error:
            raise BadValue(f"{path} cannot be read: {error.strerror or error}") from None
        self.found[str(path)] = hashlib.sha256(data).hexdigest()
        return ListText(str(path), decoded(within_bounds(data, str(path)), str(path)))


def read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(TEXT_MAX + 1)
    except OSError as error:
        raise ConfigError([Problem(str(path), 0, 0, "", f"cannot be read: {error.strerror}")]) from None
    return decoded(within_bounds(data, str(path)), str(path))


def read_regular(path: Path) -> bytes:
    """Only a file can be read again and again; to open a pipe is to wait for a writer."""
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError("it is not a regular file")
        return file.read(TEXT_MAX + 1)


def within_bounds(data: bytes, file: str) -> bytes:
    if len(data) > TEXT_MAX:
        raise ConfigError([Problem(file, 0, 0, "", f"is larger than {TEXT_MAX // 2**20} MiB")])
    return data


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
