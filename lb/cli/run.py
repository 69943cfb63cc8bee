"""`lb run`: the load balancer itself, in the foreground, until a signal ends it."""

from __future__ import annotations

import os
import sys
from collections.abc import Coroutine
from typing import Any

import typer

from lb.cli.failure import THE_ANSWER_IS_NO
from lb.cli.locate import CONFIG, ConfigOption

STDERR = 2


def run(config: ConfigOption = None) -> None:
    """Run lb with a configuration file, in the foreground."""
    from lb.shell import signals

    fill_standard_descriptors()
    signals.block()
    # Everything is imported before anything runs: new files on disk change nothing until lb is told.
    from lb.shell.runner import Runner

    raise typer.Exit(finish(Runner(config or CONFIG).run()))


def fill_standard_descriptors() -> None:
    """One that whoever started lb has closed (`>&-`) would become a socket's, and get the access log."""
    while (fd := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(fd, True)
    os.close(fd)


def finish(running: Coroutine[Any, Any, int]) -> int:
    """Runs it to its end; the exit code. What keeps lb from starting is said on stderr, every line of it."""
    import uvloop

    from lb.config.problem import ConfigError
    from lb.shell.runner import CannotStart

    try:
        return uvloop.run(running)
    except ConfigError as error:
        print(error, file=sys.stderr)
    except CannotStart as error:
        print(f"lb: {error}", file=sys.stderr)
    return THE_ANSWER_IS_NO
