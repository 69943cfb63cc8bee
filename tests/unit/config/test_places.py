"""A path -> line and column: of a value, of a key, and of as much of a path as the file has."""

from __future__ import annotations

import pytest

from lb.config.composer import compose
from lb.config.places import Places

TEXT = """\
listeners:
  web: {bind: 10.0.0.1:80, pool: web}
pools:
  "web":
    endpoints:
      - 10.0.0.1:80
      - {name: b,
         address: 10.0.0.2:80}
"""


@pytest.mark.parametrize(
    ("path", "of_value", "of_key"),
    [
        (("listeners", "web", "bind"), (2, 15), (2, 9)),
        (("listeners", "web", "pool"), (2, 34), (2, 28)),
        (("pools", "web"), (5, 5), (4, 3)),
        (("pools", "web", "endpoints", 0), (6, 9), (6, 9)),
        (("pools", "web", "endpoints", 1), (7, 9), (7, 9)),
        (("pools", "web", "endpoints", 1, "address"), (8, 19), (8, 10)),
    ],
)
def test_place_is_that_of_the_value_or_of_its_key(
    path: tuple[str | int, ...], of_value: tuple[int, int], of_key: tuple[int, int]
) -> None:
    places = Places(compose(TEXT, "lb.yaml", {})[0], "lb.yaml")
    value, key = places.problem(path, ""), places.problem(path, "", at_key=True)
    assert ((value.line, value.column), (key.line, key.column)) == (of_value, of_key)


@pytest.mark.parametrize(
    ("path", "known", "place"),
    [
        ((), "", (1, 1)),
        (("pool",), "", (1, 1)),
        (("listeners", "web", "bind", 0), "listeners.web.bind", (2, 15)),
        (("pools", "web", "endpoints", 0, "address"), "pools.web.endpoints[0]", (6, 9)),
        (("pools", "web", "endpoints", 9), "pools.web.endpoints", (6, 7)),
    ],
)
def test_place_of_a_short_form_is_that_of_the_value_it_stands_in(
    path: tuple[str | int, ...], known: str, place: tuple[int, int]
) -> None:
    problem = Places(compose(TEXT, "lb.yaml", {})[0], "lb.yaml").problem(path, "wrong")
    assert (problem.path, problem.line, problem.column) == (known, *place)
