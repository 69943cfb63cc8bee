"""Which socket the running lb is asked through.

`--socket`, else LB_ADMIN_SOCKET, else what the configuration says (`-c`, else LB_CONFIG, else
/etc/lb/lb.yaml), else the default path. The configuration is only skimmed for its two keys, never checked: it
must lead to the running lb just when it has an error, for that is when people ask `lb reload` what is wrong.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from lb.cli.failure import NOT_REACHABLE, Failure
from lb.model.config import AdminPlane, Config

CONFIG = Path("/etc/lb/lb.yaml")
IN_A_LIST = "[]"

SocketOption = Annotated[
    Path | None,
    typer.Option("--socket", "-s", help="The admin socket of the running lb.", envvar="LB_ADMIN_SOCKET"),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="The configuration file.", envvar="LB_CONFIG")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


def admin_socket(socket: Path | None, config: Path | None) -> str:
    """Raises Failure if the configuration that was named cannot be read."""
    if socket is not None:
        return str(socket)
    try:
        text = (config or CONFIG).read_text(errors="replace")
    except OSError as error:
        if config is not None:
            raise Failure(f"{config}: {error.strerror or error}", NOT_REACHABLE) from None
        text = ""
    return socket_in(text, os.environ)


def socket_in(text: str, environment: Mapping[str, str]) -> str:
    """The admin socket of a configuration that may have any error whatever."""
    found = {path: substituted(value, environment) for path, value in scalars(text)}
    socket = found.get(("admin", "socket"))
    folder = found.get(("runtime_dir",)) or Config((), ()).runtime_dir
    return Config((), (), runtime_dir=folder, admin=AdminPlane(socket=socket)).admin_socket


def scalars(text: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every plain value and the keys that lead to it, up to where the text stops being YAML."""
    import yaml

    keys: list[str | None] = []  # of each collection that is open: its current key, None while it awaits one

    def value_has_ended() -> None:
        if keys and keys[-1] != IN_A_LIST:
            keys[-1] = None

    with suppress(yaml.YAMLError):
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            match event:
                case yaml.MappingStartEvent():
                    keys.append(None)
                case yaml.SequenceStartEvent():
                    keys.append(IN_A_LIST)
                case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                    keys.pop()
                    value_has_ended()
                case yaml.ScalarEvent(value=key) if keys and keys[-1] is None:
                    keys[-1] = key
                case yaml.ScalarEvent(value=value):
                    yield tuple(key or "" for key in keys), value
                    value_has_ended()
                case yaml.AliasEvent():
                    value_has_ended()


def substituted(value: str, environment: Mapping[str, str]) -> str:
    """`${NAME}` and `${NAME:-default}`, as the configuration has them."""
    return re.sub(
        r"\$\{(\w+)(?::-([^}]*))?\}", lambda found: environment.get(found[1]) or found[2] or "", value
    )
