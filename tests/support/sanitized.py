"""`python -m tests.support.sanitized [PYTEST ARGUMENTS]`: tests on an extension that watches itself.

The tree is copied to build/sanitize, and its extension compiled there with AddressSanitizer, with
UndefinedBehaviorSanitizer and as a debug build (LB_DEBUG); the modules in the work tree stay as they are.
Then pytest runs there: tests/datapath, or what is given. The first finding ends the run with its stack;
memory that nobody freed is reported at the end, ours and Python's (which frees all that these tests use).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.source import ROOT

TREE = ROOT / "build" / "sanitize"
COPIED = ("lb", "ext", "tests", "bench", "config", "pyproject.toml", "README.md", "LICENSE", "dev")
MADE = ("*.so", "*.o", "__pycache__", "build", "results")
FLAGS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-O1", "-g")
RELEASE_FLAGS = '"-O2", "-g0"'
ENVIRONMENT = {
    "PYTHONMALLOC": "malloc",  # so that Python's own objects have their red zones too
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "LB_DEBUG": "1",
    "LB_SANITIZED": "1",
}
ASAN = "abort_on_error=1:strict_string_checks=1:detect_stack_use_after_return=1"
# The interpreter has read its options by now; what it starts (a shell, ip) leaks, and is not ours.
START = f"""
import os, sys
os.environ["ASAN_OPTIONS"] = "{ASAN}:detect_leaks=0"
import pytest
sys.exit(pytest.main(sys.argv[1:]))
"""
# What cannot hold here, and why.
DESELECTED = {
    "tests/datapath/test_back_pressure.py::test_readers_that_stop_are_bounded_in_memory_and_hold_nobody_up": (
        "memory that was freed is kept back to catch its use"
    ),
}


def main(arguments: list[str]) -> int:
    build()
    return run(arguments or ["-q", "tests/datapath"]).returncode


def build() -> None:
    """Copies the tree and compiles what changed. Raises SystemExit when that fails."""
    copy()
    words = "import setuptools; setuptools.setup()"
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            words,
            "-q",
            "build_ext",
            "--inplace",
            "--cython-line-directives",
        ],
        cwd=TREE,
        env=os.environ | {"CFLAGS": "-DLB_DEBUG", "LDFLAGS": FLAGS[0]},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"sanitize: ext/ does not compile:\n{done.stdout}{done.stderr}")


def copy() -> None:
    """Sources as they are now; what was compiled stays unless the way of compiling changed."""
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    if RELEASE_FLAGS not in pyproject:
        raise SystemExit(
            f"sanitize: pyproject.toml has no {RELEASE_FLAGS} to put the sanitizers' flags in place of"
        )
    pyproject = pyproject.replace(RELEASE_FLAGS, ", ".join(f'"{flag}"' for flag in FLAGS))
    headers = [path.read_bytes() for path in sorted((ROOT / "ext").glob("*.h"))]
    way = hashlib.sha256(pyproject.encode() + b"".join(headers)).hexdigest()
    stamp = TREE / "compiled-by"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != way:
        shutil.rmtree(TREE, ignore_errors=True)
    TREE.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        if name != "ext" and (TREE / name).is_dir():
            shutil.rmtree(TREE / name)
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            made = shutil.ignore_patterns(*MADE, *(["*.c"] if name == "ext" else []))
            shutil.copytree(source, TREE / name, symlinks=True, dirs_exist_ok=True, ignore=made)
        else:
            shutil.copy2(source, TREE / name)
    for path in (TREE / "ext").glob("*.p*"):
        if not (ROOT / "ext" / path.name).exists():
            path.unlink()
    (TREE / "pyproject.toml").write_text(pyproject, encoding="utf-8")
    stamp.write_text(way, encoding="utf-8")


def run(arguments: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    """pytest in the copy, under the sanitizers."""
    left_out = [word for test in DESELECTED for word in ("--deselect", test)]
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-c", START, "-p", "no:cacheprovider", *left_out, *arguments],
        cwd=TREE,
        env=os.environ
        | ENVIRONMENT
        | {
            "LD_PRELOAD": library("libasan.so"),
            "ASAN_OPTIONS": f"{ASAN}:detect_leaks=1",
            "PYTHONPATH": str(TREE),
        },
        text=True,
        check=False,
        **options,
    )


def library(name: str) -> str:
    """Where the compiler has it. Raises SystemExit when it comes without."""
    found = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    if not Path(found.stdout.strip()).is_absolute():
        raise SystemExit(
            f"sanitize: this gcc has no {name}; on Debian it comes with the package libgcc-VERSION-dev"
        )
    return found.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
