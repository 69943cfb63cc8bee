"""Short forms: `workers: 2`, an endpoint as `10.0.0.1:80`, `on_down: close`, one value instead of a list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from lb.config.problem import BadValue, quoted


@dataclass(frozen=True)
class Shorthand:
    """`expand` turns a short form into the long one, and leaves everything else as it is."""

    expand: Callable[[object], object]
    json: dict[str, Any] = field(compare=False)

    def words(self) -> list[str]:
        """Short forms that are words; the first one is what None stands for."""
        return list(self.json.get("enum", ()))

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.expand, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [self.json, handler(core)]}


def is_scalar(value: object) -> bool:
    return value is not None and not isinstance(value, (dict, list))


def or_off(value: object) -> object:
    """`off` is held as None; an empty key holds the defaults, like any other section."""
    if value is None:
        return {}
    if is_scalar(value) and value != "off":
        raise BadValue(f"{quoted(value)} is neither `off` nor a mapping")
    return None if value == "off" else value


def on_down(value: object) -> object:
    """`keep` is held as None."""
    if isinstance(value, dict):
        return value
    if value in ("keep", "close"):
        return None if value == "keep" else {"close_after": "0s"}
    raise BadValue(
        f"{quoted(value)} is not what can be done", "write `keep`, `close` or `{close_after: 30s}`"
    )


COUNT = Shorthand(
    lambda value: {"count": value} if is_scalar(value) else value, {"type": ["integer", "string"]}
)
ADDRESS = Shorthand(lambda value: {"address": value} if is_scalar(value) else value, {"type": "string"})
ONE = Shorthand(lambda value: [value] if is_scalar(value) else value, {"type": ["string", "integer"]})
OFF = Shorthand(or_off, {"enum": ["off"]})
ON_DOWN = Shorthand(on_down, {"enum": ["keep", "close"]})
