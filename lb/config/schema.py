"""What a configuration file may say: every key with its range, its default, and a sentence about it.

Defaults are those of lb.model, so they stand in one place. The sentences are shown by editors, through the
JSON Schema. `later` names keys that the design knows and this version does not: using one is an error of its
own. The sections of listeners, pools and checks have files of their own.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict

from lb.config import shorthand
from lb.config.addresses import Bind, Loopback
from lb.config.check_section import DefaultCheckSection
from lb.config.leaf import REFERENCE_PATTERN, Either, FilePath, Flag, Text, Word
from lb.config.listener_section import RATE_MAX, ListenerSection
from lb.config.numbers import Count, Duration
from lb.config.pool_section import EndpointSection, PoolSection
from lb.config.section import LONGEST, NAME, SESSIONS_MAX, SOME, USER, Section, defaults, keys
from lb.model.address import PATH_BYTES_MAX, Address, SocketAddress
from lb.model.config import AdminPlane, Config, Log, Shutdown, Workers

WORKERS = defaults(Workers)
SHUTDOWN = defaults(Shutdown)
ADMIN_PLANE = defaults(AdminPlane)
LOG = defaults(Log)
CONFIG = defaults(Config)

WORKERS_MAX = 64
SESSIONS = Count(1, SESSIONS_MAX, "sessions")
CPUS_MAX = 1024  # as many as a cpu_set_t of glibc holds


class WorkersSection(Section):
    count: Annotated[int | None, Either("auto", Count(1, WORKERS_MAX, "workers"))] = WORKERS.count
    """How many worker processes; auto: as many as the CPUs that lb may use (affinity and cgroup quota)."""
    cpus: Annotated[list[Annotated[int, Count(0, CPUS_MAX - 1)]], SOME] | None = None
    """CPUs to pin the workers to, in turn."""


class ShutdownSection(Section):
    pre_drain: Annotated[float, Duration("0s", "1h")] = SHUTDOWN.pre_drain_s
    """How long lb goes on accepting after /ready says 503, for whoever watches it to look away."""
    drain: Annotated[float, Duration("0s", LONGEST)] = SHUTDOWN.drain_s
    """How long open sessions may go on once nothing is accepted any more."""
    orphan: Annotated[float, Duration("0s", LONGEST)] = SHUTDOWN.orphan_s
    """How long workers serve on without their supervisor."""


class AdminSection(Section):
    later = keys("tokens tls")

    bind: Annotated[Address | None, Either("off", Loopback())] = ADMIN_PLANE.bind
    """Where the API and /metrics are served: a loopback address (port 0: any free one), or off."""
    socket: Annotated[str | None, Either(None, FilePath(PATH_BYTES_MAX))] = ADMIN_PLANE.socket
    """The unix socket of the command line; empty: admin.sock in runtime_dir."""


class LogSection(Section):
    later = keys("access_format audit syslog probes")

    level: Annotated[str, Word(("debug", "info", "warning", "error"))] = LOG.level
    """The least important events to write, to stderr."""
    format: Annotated[str, Word(("text", "json"))] = LOG.format
    """How events are written."""
    access: Annotated[str, Text("stdout, off or an absolute path", r"stdout|off|/[^\x00-\x1f]+", 4095)] = (
        LOG.access
    )
    """Where one line per session goes: stdout, off, or a path (opened again on USR1)."""
    access_rate_max: Annotated[int, Count(0, RATE_MAX, "lines per second")] = LOG.access_rate_max
    """Past so many lines per second, over all workers (each has an equal share), a sample is written, and the
    next line says how many were left out; 0: every session has its line."""


def without_defaults(section: dict[str, Any]) -> None:
    """In the JSON Schema: what is not written in `defaults` is not a value but left to others."""
    for key in section["properties"].values():
        key.pop("default", None)


class DefaultsSection(ListenerSection, PoolSection):
    """Any key of a listener or of a pool, for all of them."""

    model_config = ConfigDict(json_schema_extra=without_defaults)
    later = ListenerSection.later | PoolSection.later

    bind: Annotated[list[Annotated[tuple[SocketAddress, ...], Bind()]], SOME, shorthand.ONE] = []  # noqa: RUF012
    pool: Annotated[str, NAME] = ""
    endpoints: list[Annotated[EndpointSection, shorthand.ADDRESS]] = []  # noqa: RUF012
    check: DefaultCheckSection | None = None


class FileSection(Section):
    """The configuration of lb."""

    later = keys("state_dir include alerts drills")

    version: Annotated[int, Count(1, 1)] = 1
    """The version of this format."""
    workers: Annotated[WorkersSection, shorthand.COUNT] = WorkersSection()
    """Worker processes. `workers: 2` for short. Takes effect at a restart."""
    sessions_max: Annotated[int | None, Either("auto", SESSIONS)] = CONFIG.sessions_max
    """Most sessions at a time; auto: what the descriptors carry. Takes effect at a restart."""
    user: Annotated[str | None, Either(None, USER)] = CONFIG.user
    """Who to become once the listeners are bound. Takes effect at a restart."""
    runtime_dir: Annotated[str, FilePath(PATH_BYTES_MAX - len("/admin.sock"))] = CONFIG.runtime_dir
    """A folder for sockets. Takes effect at a restart."""
    shutdown: ShutdownSection = ShutdownSection()
    """How lb ends."""
    admin: AdminSection = AdminSection()
    """How lb is asked and ordered. Takes effect at a restart."""
    log: LogSection = LogSection()
    """What lb writes."""
    allow_exec: Annotated[bool, Flag()] = False
    """Checks of the type exec may run programs, as the user that lb runs as."""
    defaults: DefaultsSection | None = None
    """Any key of a listener or of a pool, for all of them."""
    listeners: dict[Annotated[str, NAME], ListenerSection]
    """Where clients come in, by name."""
    pools: dict[Annotated[str, NAME], PoolSection]
    """Groups of endpoints that serve the same thing, by name."""


def json_schema() -> dict[str, Any]:
    """For editors. Draft 7: what yaml-language-server reads best."""
    made = FileSection.model_json_schema(mode="serialization", ref_template="#/definitions/{model}")
    definitions = {name: tidied(part) for name, part in sorted(made.pop("$defs").items())}
    head = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "lb"}
    return {**head, **tidied(made), "definitions": definitions}


def tidied(part: Any) -> Any:
    """Without titles that repeat the key, sentences on one line; and in draft 7 nothing that stands beside a
    `$ref` counts."""
    if isinstance(part, list):
        return [tidied(item) for item in part]
    if not isinstance(part, dict):
        return part
    part = {
        key: tidied(value) for key, value in part.items() if not (key == "title" and isinstance(value, str))
    }
    if isinstance(about := part.get("description"), str):
        part["description"] = " ".join(about.split())
    if "patternProperties" in part:
        names = {
            key.removesuffix(f"|{REFERENCE_PATTERN}"): value
            for key, value in part["patternProperties"].items()
        }
        part |= {"patternProperties": names, "additionalProperties": False}
    if "$ref" in part and len(part) > 1:
        part["allOf"] = [{"$ref": part.pop("$ref")}]
    return part
