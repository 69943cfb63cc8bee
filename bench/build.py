"""Compiles bench/load into bench/build, at bench time: none of it is part of lb's wheel.

Cython is asked only when a source is newer than what was built from it. The compiled modules join the
package `bench.load` through its `__path__`.
"""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCES = HERE / "load"
BUILD = HERE / "build" / f"{sys.implementation.cache_tag}"
BUILT = BUILD / "lib" / "bench" / "load"
UNITS = ("endpoint", "client", "pace", "relay")


def ensure() -> None:
    """Builds what is out of date. Raises SystemExit with the reason when Cython or a compiler is missing."""
    if not stale():
        return
    try:
        from Cython.Build import cythonize
        from setuptools import Distribution, Extension
    except ImportError as missing:
        raise SystemExit(f"bench: {missing}; install the extra `dev` (Cython, setuptools)") from missing

    extensions = [
        Extension(f"bench.load.{unit}", [str(SOURCES / f"{unit}.pyx")], extra_compile_args=["-O2", "-g0"])
        for unit in UNITS
    ]
    modules = cythonize(
        extensions,
        build_dir=str(BUILD / "c"),
        include_path=[str(HERE.parent)],
        force=True,
        quiet=True,
        language_level=3,
    )
    command = Distribution({"name": "bench-load", "ext_modules": modules}).get_command_obj("build_ext")
    command.build_lib, command.build_temp, command.force = str(BUILD / "lib"), str(BUILD / "o"), True
    command.ensure_finalized()
    command.run()


def stale() -> bool:
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    built = [BUILT / f"{unit}{suffix}" for unit in UNITS]
    if not all(path.exists() for path in built):
        return True
    newest_s = max(path.stat().st_mtime for path in SOURCES.glob("*.p[yx][xd]"))
    return newest_s > min(path.stat().st_mtime for path in built)


if __name__ == "__main__":
    ensure()
    print(BUILT)
