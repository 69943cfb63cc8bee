"""YAML text -> schema -> lb.model, and what differs between two configurations.

    text --tree--> nodes with places --defaults--> nodes --schema--> sections --build--> lb.model.Config
                                                    \\-- checks (keys together)

A configuration is valid as a whole or not used at all; then every problem is told, each with its place. The
sections, which are pydantic models, stay in here.
"""

from lb.config.diff import Change, Diff, apply_kept, diff
from lb.config.load import load
from lb.config.parse import Loaded, parse
from lb.config.problem import ConfigError, Problem
from lb.config.schema import json_schema
from lb.config.table import markdown

__all__ = [
    "Change",
    "ConfigError",
    "Diff",
    "Loaded",
    "Problem",
    "apply_kept",
    "diff",
    "json_schema",
    "load",
    "markdown",
    "parse",
]
