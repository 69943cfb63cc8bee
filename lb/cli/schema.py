"""`lb schema`: the JSON Schema of the configuration, for editors that complete and explain keys; or a table
of them, for people."""

from __future__ import annotations

import json
from typing import Annotated

import typer

TableOption = Annotated[bool, typer.Option("--table", help="Print every key as a Markdown table.")]


def schema(table: TableOption = False) -> None:
    """Print the JSON Schema of the configuration file."""
    from lb.config import json_schema, markdown

    print(markdown() if table else json.dumps(json_schema(), indent=2), end="" if table else "\n")
