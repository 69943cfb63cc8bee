"""Makes our interpreter reachable for a process that gives up root.

An interpreter may lie below a folder that only root may enter (pyenv in /root). Rather than changing that
folder's mode, the process is started in a mount namespace of its own, where a folder that everybody may enter
stands in its place, and holds nothing but the way to the interpreter.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.source import ROOT

OTHERS_ENTER = 0o001
# $1: the folder, $2: what in it is needed, $3: an empty folder to see the original in; then the command.
IN_ITS_PLACE = """\
set -e
closed=$1 needed=$2 aside=$3
shift 3
mount --bind "$closed" "$aside"
mount -t tmpfs -o mode=755 tmpfs "$closed"
mkdir "$closed/$needed"
mount --bind "$aside/$needed" "$closed/$needed"
umount "$aside"
exec "$@"
"""


def prefix(folder: Path) -> list[str]:
    """Words to put before a command, mostly none. Skips the test where a namespace is needed and refused."""
    closed = closed_folder([Path(sys.executable).resolve(), Path(sys.prefix), ROOT])
    if closed is None:
        return []
    if subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode:
        pytest.skip(
            f"{sys.executable} lies in {closed.parent}, which only root may enter, and unshare is refused"
        )
    aside = folder / "aside"
    aside.mkdir()
    return ["unshare", "-m", "sh", "-c", IN_ITS_PLACE, "sh", str(closed.parent), closed.name, str(aside)]


def closed_folder(paths: Iterable[Path]) -> Path | None:
    """What is needed of the first folder on the way to one of `paths` that others may not enter."""
    for path in paths:
        for inner, outer in zip([path, *path.parents], path.parents, strict=False):
            if not outer.stat().st_mode & OTHERS_ENTER:
                return inner
    return None
