"""The JSON Schema says what the parser does, and the example with every key has every key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lb.config import json_schema
from lb.config.composer import compose
from lb.config.explain import unwrapped
from lb.config.schema import FileSection
from lb.config.section import Section
from lb.config.tree import plain

EXAMPLES = Path(__file__).parents[3] / "config"


def keys_of(section: type[Section], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key that the file may have, as a path; names of listeners and pools, and indexes, are `*`."""
    for name, field in section.fields().items():
        yield (*path, name)
        kind, inside = unwrapped(field.annotation), (*path, name)
        while hasattr(kind, "__args__"):
            kind, inside = unwrapped(kind.__args__[-1]), (*inside, "*")
        is_section = isinstance(kind, type) and issubclass(kind, Section) and not issubclass(section, kind)
        if is_section and name != "defaults":
            yield from keys_of(kind, inside)


def has(tree: Any, path: tuple[str, ...]) -> bool:
    if not path:
        return True
    if path[0] == "*":
        inside = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ()
        return any(has(value, path[1:]) for value in inside)
    return isinstance(tree, dict) and path[0] in tree and has(tree[path[0]], path[1:])


def test_full_example_has_every_key() -> None:
    tree = plain(compose((EXAMPLES / "full.yaml").read_text(), "full.yaml", {})[0])
    of_short_forms = {"close_after", "file"}
    missing = [
        path for path in keys_of(FileSection) if path[-1] not in of_short_forms and not has(tree, path)
    ]
    assert not missing


def test_every_key_has_a_sentence_about_it() -> None:
    definitions = json_schema()["definitions"]
    silent = [
        f"{name}.{key}"
        for name, section in definitions.items()
        for key, schema in section["properties"].items()
        if "description" not in schema and not name.startswith("Default")
    ]
    assert not silent


def test_every_reference_in_the_schema_leads_somewhere() -> None:
    schema = json_schema()
    text = json.dumps(schema)
    for name in schema["definitions"]:
        assert f'"#/definitions/{name}"' in text
    assert text.count("#/definitions/") == text.count('"$ref"')


@pytest.mark.parametrize(
    ("section", "key", "default"),
    [
        ("TimeoutsSection", "idle", "10m"),
        ("ConnectSection", "timeout", "1200ms"),
        ("CheckSection", "jitter", "20%"),
        ("AdminSection", "bind", "127.0.0.1:9900"),
        ("WorkersSection", "count", "auto"),
        ("PoolSection", "policy", "round_robin"),
        ("EndpointSection", "weight", 1),
        ("ListenerSection", "allow", None),
        ("ListenerSection", "deny", []),
        ("ListenerSection", "upload_max", 0),
        ("ListenerSection", "dry_run", False),
        ("UnixSection", "mode", None),
        ("QueueSection", "timeout", "5s"),
        ("TcpSection", "keepalive", {"idle": "30s", "interval": "3s", "count": 10}),
    ],
)
def test_default_in_the_schema_is_written_as_in_a_file(section: str, key: str, default: object) -> None:
    assert json_schema()["definitions"][section]["properties"][key]["default"] == default


def test_unknown_keys_are_wrong_for_editors_too() -> None:
    for section in json_schema()["definitions"].values():
        assert section["additionalProperties"] is False
