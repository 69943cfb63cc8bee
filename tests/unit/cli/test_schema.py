"""`lb schema` prints what stands in config/."""

from __future__ import annotations

import json

from lb.config import json_schema
from tests.support.fake_lb import Lb


def test_schema_is_printed_as_json(lb: Lb) -> None:
    ended = lb("schema")
    assert (ended.code, json.loads(ended.out)) == (0, json_schema())
