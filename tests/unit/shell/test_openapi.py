"""The description and the routes are made of one table."""

from __future__ import annotations

import json
import re

from lb.shell.admin import Admin
from lb.shell.openapi import ROUTES, describe


def test_openapi_describes_every_route_and_no_other() -> None:
    described = {(method.upper(), path) for path, item in describe()["paths"].items() for method in item}
    assert described == {(route.method, route.path) for route in ROUTES}
    assert len(ROUTES) == len(described)


def test_openapi_route_has_a_handler() -> None:
    assert all(callable(getattr(Admin, f"_{route.operation}")) for route in ROUTES)


def test_openapi_names_each_operation_once() -> None:
    operations = [item["operationId"] for path in describe()["paths"].values() for item in path.values()]
    assert len(operations) == len(set(operations))


def test_openapi_declares_the_parameters_of_a_path() -> None:
    for path, item in describe()["paths"].items():
        for operation in item.values():
            declared = [parameter["name"] for parameter in operation.get("parameters", [])]
            assert declared == re.findall(r"\{(\w+)\}", path)


def test_openapi_says_what_weight_takes() -> None:
    weight = describe()["paths"]["/api/v1/pools/{pool}/endpoints/{endpoint}/weight"]["post"]
    assert weight["requestBody"]["content"]["application/json"]["schema"]["required"] == ["weight"]
    assert set(weight["responses"]) == {"200", "400", "404", "409"}


def test_openapi_changes_things_by_post_alone() -> None:
    assert {route.method for route in ROUTES} == {"GET", "POST"}


def test_openapi_is_json() -> None:
    assert json.loads(json.dumps(describe())) == describe()
