"""What the file may say of a list of networks: the list itself, or the file that holds it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Discriminator, Tag

from lb.config import shorthand
from lb.config.leaf import FileName
from lb.config.networks import Member, Network
from lb.config.section import SOME, Section

# Which of the two it is, as pydantic notes it among the keys of a problem.
FORMS = LIST, FILE = "[list]", "[file]"


class ListFileSection(Section):
    file: Annotated[str, FileName()]
    """A file with one network per line and comments after #; its folder is that of the configuration. What
    changes in it takes effect at once."""


def form(value: object) -> str:
    return FILE if isinstance(value, dict) else LIST


NetworkList = list[Annotated[Member, Network()]]
InFile = Annotated[ListFileSection, Tag(FILE)]

AnyNetworks = Annotated[InFile | Annotated[NetworkList, Tag(LIST)], Discriminator(form), shorthand.ONE]
SomeNetworks = Annotated[InFile | Annotated[NetworkList, SOME, Tag(LIST)], Discriminator(form), shorthand.ONE]
