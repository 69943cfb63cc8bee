"""`lb schema`: the JSON Schema of the configuration, for editors that complete and explain keys."""

from __future__ import annotations

import json


def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    from lb.config import json_schema

    print(json.dumps(json_schema(), indent=2))
