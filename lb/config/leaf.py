"""The kinds of values a key can hold: how each is read, shown, and described in the JSON Schema.

A leaf stands in an annotation of a section. `read` takes what the YAML says (text, an integer, a boolean,
None) and gives the value of lb/model, or raises BadValue; `show` is the way back, for defaults; `range` and
`unit` are for people. Here are words and text; numbers.py has the numbers, addresses.py what names a peer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import re2
from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from lb.config.problem import NOT_YET, BadValue, Budget, did_you_mean, quoted
from lb.model.pattern import compiled

# A reference to the environment may stand for any value; what it gives is read as if it stood there.
REFERENCE_PATTERN = r"\$\{"

NAME_PATTERN = r"[A-Za-z0-9_.-]{1,63}"
TOKEN_PATTERN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,127}"  # RFC 9110, section 5.6.2


@dataclass(frozen=True)
class Leaf:
    """What pydantic is told of a leaf. Subclasses read, show, and describe."""

    def read(self, value: object) -> Any:
        raise NotImplementedError

    def show(self, value: Any) -> Any:
        return str(value)

    def json(self) -> dict[str, Any]:
        raise NotImplementedError

    def range(self) -> str:
        raise NotImplementedError

    def unit(self) -> str:
        return ""

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._read, serialization=core_schema.plain_serializer_function_ser_schema(self.show)
        )

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return self.json()

    def _read(self, value: object, info: ValidationInfo[Budget]) -> Any:
        """Once the budget is spent something was told, so what is passed on is never used, nor looked at."""
        if info.context.is_spent:
            return None
        try:
            return self.read(value)
        except BadValue:
            if info.context.spend():
                raise
            return None


@dataclass(frozen=True)
class Word(Leaf):
    """One of a few. `later` are words the design knows and this version does not."""

    words: tuple[str, ...]
    later: tuple[str, ...] = ()

    def read(self, value: object) -> str:
        if isinstance(value, str) and value in self.words:
            return value
        if isinstance(value, str) and value in self.later:
            raise BadValue(f"{quoted(value)} {NOT_YET}", f"write {listed(self.words)}")
        hint = did_you_mean(value, self.words) if isinstance(value, str) else None
        raise BadValue(f"{quoted(value)} is none of {listed(self.words, 'and')}", hint)

    def json(self) -> dict[str, Any]:
        return {"anyOf": [{"enum": list(self.words)}, {"type": "string", "pattern": REFERENCE_PATTERN}]}

    def range(self) -> str:
        return ", ".join(self.words)


# What means the same to people, and to other readers of YAML.
FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


@dataclass(frozen=True)
class Flag(Leaf):
    def read(self, value: object) -> bool:
        if isinstance(value, bool):
            return value
        meant = FLAGS.get(value.lower()) if isinstance(value, str) else None
        hint = None if meant is None else f"write {quoted(meant)}"
        if hint and quoted(value) in hint:
            hint = "write it without quotes"
        raise BadValue(f"{quoted(value)} is neither `true` nor `false`", hint)

    def show(self, value: Any) -> Any:
        return value

    def json(self) -> dict[str, Any]:
        return {"type": ["boolean", "string"], "pattern": REFERENCE_PATTERN}

    def range(self) -> str:
        return "true, false"


@dataclass(frozen=True)
class Text(Leaf):
    """Text of one line. A number is text here too: `user: 1000`, a pool called 8080."""

    wanted: str
    pattern: str
    length_max: int = 255

    def read(self, value: object) -> str:
        text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
        if len(text) <= self.length_max and re.fullmatch(self.pattern, text):
            return text
        hint = "put it in quotes" if isinstance(value, bool) else None
        raise BadValue(f"{quoted(value)} is not {self.wanted}", hint)

    def json(self) -> dict[str, Any]:
        return {**matching(self.pattern), "type": ["string", "integer"]}

    def range(self) -> str:
        return self.wanted


@dataclass(frozen=True)
class Secret(Text):
    """Text that no message repeats."""

    def read(self, value: object) -> str:
        try:
            return super().read(value)
        except BadValue:
            raise BadValue(f"is not {self.wanted}") from None


@dataclass(frozen=True)
class Pattern(Text):
    """Of RE2, which matches in linear time; it is tried here."""

    wanted: str = "a regular expression (RE2)"
    pattern: str = r"(?s).+"
    length_max: int = 1024

    def read(self, value: object) -> str:
        text = super().read(value)
        try:
            compiled(text)
        except re2.error as error:
            raise BadValue(f"{quoted(value)} is not {self.wanted}: {error.args[0].decode()}") from None
        return text


@dataclass(frozen=True)
class Bytes(Text):
    """A text that is sent or awaited, in UTF-8."""

    wanted: str = "a text of 1 to 4096 characters"
    pattern: str = r"(?s).+"
    length_max: int = 4096

    def read(self, value: object) -> Any:
        return super().read(value).encode()

    def show(self, value: Any) -> Any:
        return value.decode()


@dataclass(frozen=True)
class Hex(Text):
    """Bytes, two digits each; spaces between them are for people."""

    wanted: str = "bytes in hexadecimal, at most 4096"
    pattern: str = r" *([0-9A-Fa-f]{2} *)+"
    length_max: int = 3 * 4096

    def read(self, value: object) -> Any:
        data = bytes.fromhex(super().read(value))
        if len(data) > 4096:
            raise BadValue(f"{len(data)} bytes; at most 4096")
        return data

    def show(self, value: Any) -> Any:
        return value.hex()


@dataclass(frozen=True)
class FilePath(Leaf):
    """An absolute path. Its length in bytes is bounded by what follows it, and by what it is for."""

    bytes_max: int = 4095

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not value.startswith("/") or not value.isprintable():
            raise BadValue(f"{quoted(value)} is not an absolute path")
        if len(value.encode()) > self.bytes_max:
            raise BadValue(f"a path of {len(value.encode())} bytes is too long; at most {self.bytes_max}")
        return value

    def json(self) -> dict[str, Any]:
        return matching("/.*")

    def range(self) -> str:
        return "an absolute path"


@dataclass(frozen=True)
class FileName(Leaf):
    """The path of a file; one that is not absolute starts from the folder of the configuration."""

    bytes_max: int = 4095

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not value or not value.isprintable():
            raise BadValue(f"{quoted(value)} is not the path of a file")
        if len(value.encode()) > self.bytes_max:
            raise BadValue(f"a path of {len(value.encode())} bytes is too long; at most {self.bytes_max}")
        return value

    def json(self) -> dict[str, Any]:
        return matching(".+")

    def range(self) -> str:
        return "a path"


@dataclass(frozen=True)
class Trust(Leaf):
    """Which certificates to trust. `true` is held as "system", `false` as None."""

    def read(self, value: object) -> str | None:
        if isinstance(value, bool):
            return "system" if value else None
        try:
            return FilePath().read(value)
        except BadValue:
            raise BadValue(f"{quoted(value)} is neither true, false, nor an absolute path") from None

    def show(self, value: Any) -> Any:
        return {None: False, "system": True}.get(value, value)

    def json(self) -> dict[str, Any]:
        return {"anyOf": [{"type": "boolean"}, FilePath().json()]}

    def range(self) -> str:
        return "true, false; an absolute path"


@dataclass(frozen=True)
class Either(Leaf):
    """A word (None: the key is left empty) that the model holds as None, or another leaf."""

    word: str | None
    leaf: Leaf

    def read(self, value: object) -> Any:
        if value == self.word:
            return None
        try:
            return self.leaf.read(value)
        except BadValue as error:
            hint = error.suggestion or (f"or write {self.word}" if self.word else None)
            raise BadValue(str(error), hint) from None

    def show(self, value: Any) -> Any:
        return self.word if value is None else self.leaf.show(value)

    def json(self) -> dict[str, Any]:
        return {"anyOf": [{"const": self.word}, self.leaf.json()]}

    def range(self) -> str:
        return f"{self.word or 'null'}; {self.leaf.range()}"

    def unit(self) -> str:
        return self.leaf.unit()


def matching(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^({pattern})$|{REFERENCE_PATTERN}"}


def listed(words: tuple[str, ...], last: str = "or") -> str:
    shown = [f"`{word}`" for word in words]
    return f" {last} ".join([", ".join(shown[:-1]), shown[-1]]) if shown[1:] else shown[0]
