"""`lb schema` prints what stands in config/, and the table of every key."""

from __future__ import annotations

import json

from lb.config import json_schema, markdown
from tests.support.fake_lb import Lb


def test_schema_is_printed_as_json(lb: Lb) -> None:
    ended = lb("schema")
    assert (ended.code, json.loads(ended.out)) == (0, json_schema())


def test_table_of_every_key_is_printed(lb: Lb) -> None:
    ended = lb("schema", "--table")
    assert (ended.code, ended.out) == (0, markdown())
