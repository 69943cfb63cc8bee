"""The command line: one small file per command, gathered here.

A command's module imports at its top only what is quick; the rest, where it is used. So `lb --help` and
`lb status` do not wait for what only `lb run` needs.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from lb import __version__
from lb.cli import check, demo, events, orders, reload, run, schema, status
from lb.cli.failure import Failure

app = typer.Typer(
    help="A Layer-4 load balancer. Exit codes: 0 fine, 1 the answer is no, 2 usage, 3 cannot reach lb.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in (
    run.run,
    demo.demo,
    check.check,
    reload.reload,
    status.status,
    events.events,
    orders.drain,
    orders.ready,
    orders.maint,
    orders.weight,
    schema.schema,
):
    app.command()(command)


def print_version(asked: bool) -> None:
    if asked:
        print(f"lb {__version__}")
        raise typer.Exit()


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options that stand before a command."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The `lb` script. Without arguments it takes those of the process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends a command without a traceback
    try:
        app(args=arguments, prog_name="lb")
    except Failure as failure:
        print(f"lb: {failure}", file=sys.stderr)
        sys.exit(failure.exit_code)
    sys.exit(0)
