"""The kinds of values a key can hold: how each is read, shown, and described in the JSON Schema.

A leaf stands in an annotation of lb/config/schema.py. `read` takes what the YAML says (text, an integer, a
boolean, None) and gives the value of lb/model, or raises BadValue; `show` is the way back, for defaults.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from lb.config.problem import NOT_YET, QUOTED_MAX, BadValue, Budget, did_you_mean, quoted, shown
from lb.config.units import DURATION_PATTERN, duration_s, show_duration
from lb.model.address import Address

# A reference to the environment may stand for any value; what it gives is read as if it stood there.
REFERENCE_PATTERN = r"\$\{"

NAME_PATTERN = r"[A-Za-z0-9_.-]{1,63}"
TOKEN_PATTERN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,127}"  # RFC 9110, section 5.6.2
SOCKET_PATH_BYTES_MAX = 107  # sun_path, less its ending zero


@dataclass(frozen=True)
class Leaf:
    """What pydantic is told of a leaf. Subclasses read, show, and describe."""

    def read(self, value: object) -> Any:
        raise NotImplementedError

    def show(self, value: Any) -> Any:
        return str(value)

    def json(self) -> dict[str, Any]:
        raise NotImplementedError

    def __get_pydantic_core_schema__(self, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            self._read, serialization=core_schema.plain_serializer_function_ser_schema(self.show)
        )

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return self.json()

    def _read(self, value: object, info: ValidationInfo[Budget]) -> Any:
        """Once the budget is spent something was told, so what is passed on is never used."""
        try:
            return self.read(value)
        except BadValue:
            if info.context.spend():
                raise
            return None


@dataclass(frozen=True)
class Count(Leaf):
    """A whole number, in decimal."""

    minimum: int
    maximum: int

    def read(self, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and self.minimum <= value <= self.maximum:
            return value
        hint = None
        if isinstance(value, str) and value.isdecimal():
            hint = "write it without quotes and leading zeros"
        several = self.minimum < self.maximum
        wanted = f"a whole number from {self.minimum} to {self.maximum}" if several else self.minimum
        raise BadValue(f"{quoted(value)} is not {wanted}", hint)

    def show(self, value: Any) -> Any:
        return value

    def json(self) -> dict[str, Any]:
        # `minimum` concerns numbers alone, and `pattern` text alone.
        bounds = {"minimum": self.minimum, "maximum": self.maximum}
        return {"type": ["integer", "string"], **bounds, "pattern": REFERENCE_PATTERN}


@dataclass(frozen=True)
class Percent(Leaf):
    maximum: int = 100

    def read(self, value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,3}%", value) and int(value[:-1]) <= self.maximum:
            return int(value[:-1])
        raise BadValue(f"{quoted(value)} is not a share from 0% to {self.maximum}%")

    def show(self, value: Any) -> Any:
        return f"{value}%"

    def json(self) -> dict[str, Any]:
        return matching("[0-9]{1,3}%")


@dataclass(frozen=True)
class Duration(Leaf):
    """In seconds, between two durations. `whole`: no fractions, for what the kernel counts in seconds."""

    minimum: str
    maximum: str
    whole: bool = False

    def read(self, value: object) -> float:
        if not isinstance(value, str):
            hint = f"write {value}s or {value}ms" if type(value) is int else "write for example 2s"
            raise BadValue(f"{quoted(value)} is not a duration", hint)
        seconds = duration_s(value)
        if not duration_s(self.minimum) <= seconds <= duration_s(self.maximum):
            raise BadValue(f"{quoted(value)} is not between {self.minimum} and {self.maximum}")
        if not self.whole:
            return seconds
        if seconds % 1:
            raise BadValue(f"{quoted(value)} is not a whole number of seconds")
        return int(seconds)

    def show(self, value: Any) -> Any:
        return show_duration(value)

    def json(self) -> dict[str, Any]:
        return matching(DURATION_PATTERN)


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


@dataclass(frozen=True)
class Host(Leaf):
    """An IP address without a port."""

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            raise BadValue(f"{quoted(value)} is not an IP address")
        bracketed = f"[{value}]" if ":" in value else value
        return read_address(f"{bracketed}:0").host

    def json(self) -> dict[str, Any]:
        return {"type": "string"}


@dataclass(frozen=True)
class IpPort(Leaf):
    """`ADDRESS:PORT`. Where lb itself listens, port 0 means any free one, and a wildcard all addresses."""

    listens: bool = True
    loopback: bool = False

    def read(self, value: object) -> Address:
        if not isinstance(value, str):
            raise BadValue(
                f"{quoted(value)} is not an address", "write it as ADDRESS:PORT, for example 0.0.0.0:8080"
            )
        address = read_address(value)
        if not self.listens and address.port == 0:
            raise BadValue(f"{quoted(value)}: nothing can be reached at port 0")
        if not self.listens and address.is_wildcard:
            raise BadValue(
                f"{quoted(value)} stands for every address of a machine; an endpoint has one of its own"
            )
        if self.loopback and not ipaddress.ip_address(address.host).is_loopback:
            raise BadValue(
                f"{quoted(value)} is open to other machines, and tokens to keep them out are not there yet",
                "write a loopback address, or off",
            )
        return address

    def json(self) -> dict[str, Any]:
        return matching(r"[0-9.]+:[0-9]+|\[[0-9A-Fa-f:.]+\]:[0-9]+")


@dataclass(frozen=True)
class StatusRange(Leaf):
    """`404`, or `200-399`, both ends included."""

    def read(self, value: object) -> tuple[int, int]:
        if match := re.fullmatch(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?", str(value), re.ASCII):
            first, last = int(match[1]), int(match[2] or match[1])
            if first <= last:
                return first, last
        raise BadValue(f"{quoted(value)} is not an HTTP status", "write for example 404, or 200-399")

    def show(self, value: Any) -> Any:
        first, last = value
        return first if first == last else f"{first}-{last}"

    def json(self) -> dict[str, Any]:
        return {**matching("[1-5][0-9]{2}(-[1-5][0-9]{2})?"), "type": ["string", "integer"]}


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


def read_address(text: str) -> Address:
    """What Address.parse takes, less what the data path cannot use."""
    if text.startswith("unix:"):
        raise BadValue(f"{quoted(text)}: a unix socket {NOT_YET}")
    if re.search(r":[0-9]+-[0-9]+$", text):
        raise BadValue(f"{quoted(text)}: a range of ports {NOT_YET}", "write one address per port")
    try:
        address = Address.parse(text)
    except ValueError as error:
        raise BadValue(shown(str(error), 2 * QUOTED_MAX), address_hint(text)) from None
    ip = ipaddress.ip_address(address.host)
    if isinstance(ip, ipaddress.IPv6Address) and ip.scope_id:
        raise BadValue(f"{quoted(text)}: an address with an interface (%{ip.scope_id}) {NOT_YET}")
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        raise BadValue(f"{quoted(text)} is IPv4 in IPv6", f"write {ip.ipv4_mapped} instead")
    return address


def address_hint(text: str) -> str | None:
    host, colon, port = text.rpartition(":")
    if colon and host in ("", "*"):
        return f"write 0.0.0.0:{shown(port)} for every IPv4 address, [::]:{shown(port)} for every IPv6 one"
    if re.fullmatch(r"[A-Za-z0-9.-]*[A-Za-z][A-Za-z0-9.-]*", host):
        return f"write an IP address: looking up a name {NOT_YET}"
    return None


def matching(pattern: str) -> dict[str, Any]:
    return {"type": "string", "pattern": f"^({pattern})$|{REFERENCE_PATTERN}"}


def listed(words: tuple[str, ...], last: str = "or") -> str:
    shown = [f"`{word}`" for word in words]
    return f" {last} ".join([", ".join(shown[:-1]), shown[-1]]) if shown[1:] else shown[0]
