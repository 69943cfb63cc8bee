"""What all sections of the file share: known keys, the defaults of lb.model, sentences for editors."""

from __future__ import annotations

from dataclasses import MISSING, fields
from functools import cache
from types import SimpleNamespace
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator
from pydantic.fields import FieldInfo

from lb.config.leaf import NAME_PATTERN, Text
from lb.config.problem import Budget

SESSIONS_MAX = 10_000_000
LONGEST = "20d"  # in milliseconds this still fits 31 bits

SOME = Field(min_length=1)
NAME = Text("a name (1 to 63 letters, digits and _ . -)", NAME_PATTERN)
ACCOUNT_PATTERN = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}\$?"
USER, GROUP = Text("a user", ACCOUNT_PATTERN), Text("a group", ACCOUNT_PATTERN)


def defaults(model: type) -> Any:
    """The defaults of a dataclass; with slots, its class does not show them."""
    return SimpleNamespace(
        **{field.name: field.default for field in fields(model) if field.default is not MISSING}
    )


def keys(words: str) -> frozenset[str]:
    return frozenset(words.split())


class Section(BaseModel):
    """A mapping with known keys. Left empty, it holds the defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
    later: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    @cache
    def fields(cls) -> dict[str, FieldInfo]:
        """By key: what is a word of Python's own has another name there."""
        return {field.alias or name: field for name, field in cls.model_fields.items()}

    @model_validator(mode="before")
    @classmethod
    def read(cls, value: object, info: ValidationInfo[Budget]) -> object:
        if value is None:
            return {}
        if not isinstance(value, dict):
            return value
        known = cls.fields()
        return {key: node for key, node in value.items() if key in known or info.context.spend()}
