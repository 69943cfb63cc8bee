"""What pydantic found, in the operator's words and at the operator's lines.

A value is reported where it stands, a key that should not be there at the key, one that is missing at the key
of its section.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lb.config.networks_section import FORMS
from lb.config.places import Places
from lb.config.problem import NOT_YET, WRONG_VALUES_MAX, BadValue, KeyPath, Problem, did_you_mean, quoted
from lb.config.schema import FileSection
from lb.config.section import Section

KINDS = {"model_type": "a mapping of keys", "dict_type": "a mapping of names", "list_type": "a list"}


def explained(error: ValidationError, places: Places) -> Iterator[Problem]:
    """Up to a number far above what is told: missing keys are not bounded while the schema is read."""
    for details in error.errors(include_url=False)[: 2 * WRONG_VALUES_MAX]:
        yield explain(details, places)


def explain(details: ErrorDetails, places: Places) -> Problem:
    path = tuple(part for part in details["loc"] if part not in FORMS)
    match details["type"]:
        case "missing":
            return places.problem(path[:-1], f"`{path[-1]}` is missing", at_key=True)
        case "extra_forbidden":
            return unknown_key(path, places)
        case "value_error":
            at_key = path[-1] == "[key]"
            wrong = details["ctx"]["error"]
            hint = wrong.suggestion if isinstance(wrong, BadValue) else None
            return places.problem(path[:-1] if at_key else path, str(wrong), hint, at_key=at_key)
        case "too_short":
            return places.problem(path, "an empty list", "name at least one")
        case "too_long":
            most = details["ctx"]["max_length"]
            return places.problem(path, f"{len(details['input'])} entries; at most {most}")
        case kind if kind in KINDS:
            return places.problem(path, f"{quoted(details['input'])} is not {KINDS[kind]}")
    return places.problem(path, details["msg"])


def unknown_key(path: KeyPath, places: Places) -> Problem:
    section, key = section_at(path[:-1]), str(path[-1])
    if key in section.later:
        return places.problem(path, NOT_YET, at_key=True)
    hint = did_you_mean(key, section.fields()) or did_you_mean(key, section.later)
    return places.problem(path, "unknown key", hint, at_key=True)


def section_at(path: KeyPath) -> type[Section]:
    """Which keys are known at `path`: the section that the schema has there."""
    kind: Any = FileSection
    for part in path:
        inside = unwrapped(kind)
        kind = get_args(inside)[-1] if get_origin(inside) else inside.fields()[str(part)].annotation
    section: type[Section] = unwrapped(kind)
    return section


def unwrapped(kind: Any) -> Any:
    """`Annotated[X, ...]`, `X | None` and `X | list[Y]` are X."""
    while get_origin(kind) in (Annotated, Union, UnionType):
        kind = next(argument for argument in get_args(kind) if argument is not NoneType)
    return kind
