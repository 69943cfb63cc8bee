"""The house rules, as tests: what a reviewer would say twice is said here once.

Each test collects every breach and fails with a list of `file:line: what is wrong`. A rule about a
single line may be broken where that line says why: `# tidy: <reason>`.
"""

import ast
import json
import os
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.support.source import (
    ROOT,
    c_functions,
    functions,
    identifiers,
    imports,
    lines,
    rule_lines,
    sources,
    text,
    tree,
    words_of,
)

# TigerBeetle's tidy has 70 lines for a function too: what still fits a screen.
FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 500

VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "base", "misc"}

PURE_LAYERS = ("model", "balance", "health", "config", "core")
IMPURE = {
    "asyncio", "logging", "multiprocessing", "select", "selectors", "signal", "socket", "ssl",
    "structlog", "subprocess", "threading", "time", "uvloop",
}  # fmt: skip
FILE_SYSTEM = {"os", "pathlib", "shutil", "tempfile"}
READS_FILES = Path("lb/config/load.py")

IMPORTS_THE_EXTENSION = Path("lb/shell/datapath.py")

# Words that others use for what has a name here. Only words no library makes us say.
GLOSSARY = {
    "backend": "pool (the group) or endpoint (the member)",
    "balancer": "policy",
    "entrypoint": "listener",
    "eweight": "weight_effective",
    "frontend": "listener",
    "healthcheck": "check (the rule) or probe (one attempt)",
    "healthy": "health UP, or eligible",
    "maxconn": "sessions_max",
    "redispatch": "attempt",
    "scheduler": "policy",
    "stickiness": "affinity",
    "unhealthy": "health DOWN",
    "uweight": "weight",
    "vserver": "listener",
}

# Results that are Python objects carry an exception by being NULL; every other one must say what it does.
PYTHON_RESULTS = {"object", "str", "bytes", "bytearray", "tuple", "list", "dict", "set"}


# ---- Sizes, names, docstrings -----------------------------------------------------------------------


def test_files_of_ours_fit_the_head() -> None:
    lengths = {path: len(lines(path)) for path in sources(".py", ".pyx")}
    report(
        f"{path}: {length} lines; at most {FILE_LINES_MAX}: find the second noun and give it a file"
        for path, length in lengths.items()
        if length > FILE_LINES_MAX
    )


def test_functions_fit_a_screen() -> None:
    report(
        f"{path}:{first}: {name}() has {length} lines; at most {FUNCTION_LINES_MAX}"
        for path in sources(".py", ".pyx")
        for name, first, length in functions(path)
        if length > FUNCTION_LINES_MAX
    )


def test_file_names_say_what_is_inside() -> None:
    report(
        f"{path}: `{path.stem}` names no noun; call the file after the thing it holds"
        for path in sources(".py", ".pyx", ".pxd")
        if path.stem in VAGUE_NAMES or path.parent.name in VAGUE_NAMES
    )


def test_modules_open_with_a_docstring() -> None:
    opening = re.compile(r'([ \t]*(#.*)?\n)*[rR]?"""')
    report(
        f"{path}:1: no docstring: the one idea of the file, and its invariants"
        for path in sources(".py", ".pyx", ".pxd")
        if not opening.match(text(path))
    )


def test_unit_tests_mirror_the_package() -> None:
    """tests/unit/core/test_brain.py, or test_brain_<aspect>.py, is about lb/core/brain.py.

    What stands in tests/unit/bench is about bench/.
    """

    def subject_exists(test: Path) -> bool:
        mirrored = test.parent.relative_to("tests/unit")
        folder = ROOT / mirrored if mirrored.parts[:1] == ("bench",) else ROOT / "lb" / mirrored
        words = test.stem.removeprefix("test_").split("_")
        stems = ("_".join(words[:count]) for count in range(1, len(words) + 1))
        return any((folder / f"{stem}.py").exists() or (folder / stem).is_dir() for stem in stems)

    report(
        f"{path}: mirrors nothing in lb/{path.parent.relative_to('tests/unit')}"
        for path in sources(".py", under=("tests/unit",))
        if path.stem.startswith("test_") and not subject_exists(path)
    )


# ---- What is not written here -----------------------------------------------------------------------


def test_nothing_sleeps_for_a_fixed_time() -> None:
    """A sleep is too short on a busy machine and too long on every other: wait for the condition."""
    report(
        f"{path}:{number}: time.sleep; wait on the condition itself, with a deadline"
        for path in sources(".py", under=("lb", "tests"))
        for number, line in rule_lines(path)
        if re.search(r"\btime\.sleep\(|from time import .*\bsleep\b", line)
    )


def test_no_exception_is_swallowed_unseen() -> None:
    report(
        f"{path}:{handler.lineno}: {complaint}"
        for path in sources(".py")
        for handler in ast.walk(tree(path))
        if isinstance(handler, ast.ExceptHandler) and (complaint := swallowed(handler))
    )


def test_promises_for_later_are_not_left_behind() -> None:
    promise = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX"]) + r")\b")
    report(
        f"{path}:{number}: {found[0]}: do it, or describe it where work is planned"
        for path in sources(".py", ".pyx", ".pxd", ".pyi", ".h", ".md", ".toml", ".yaml")
        for number, line in rule_lines(path)
        if (found := promise.search(line))
    )


def test_an_ignored_type_error_is_named() -> None:
    report(
        f"{path}:{number}: `type: ignore` without the [code] it is about"
        for path in sources(".py", ".pyi")
        for number, line in rule_lines(path)
        if re.search(r"#\s*type:\s*ignore(?!\[)", line)
    )


def test_identifiers_use_the_words_of_the_glossary() -> None:
    report(
        f"{path}:{number}: `{identifier}`: we say {GLOSSARY[word]}"
        for path in sources(".py", ".pyx", ".pxd", under=("lb", "ext"))
        for number, identifier in identifiers(path)
        for word in words_of(identifier)
        if word in GLOSSARY and "# tidy: " not in lines(path)[number - 1]
    )


# ---- Layers (which of ours may import which is import-linter's: see pyproject.toml) ------------------


def test_pure_layers_import_no_clock_and_no_io() -> None:
    report(
        f"{path}:{number}: imports {module}; a pure layer is told what it needs (`now`, text, results)"
        for path in pure_sources()
        for number, module in imports(path)
        if module.split(".")[0] in IMPURE | (set() if path == READS_FILES else FILE_SYSTEM)
    )


def test_pure_layers_draw_only_from_a_seeded_random() -> None:
    """`random.Random(seed)`, or one that is passed in; never the generator hidden in the module."""
    report(
        f"{path}:{number}: random from a hidden seed; take a random.Random"
        for path in pure_sources()
        for number, line in rule_lines(path)
        if re.search(r"\brandom\.(?!Random\b)[a-z]|from random import (?!Random\b)", line)
    )


def test_one_module_imports_the_extension() -> None:
    report(
        f"{path}:{number}: imports {module}; only {IMPORTS_THE_EXTENSION} does"
        for path in sources(".py", under=("lb",))
        if path != IMPORTS_THE_EXTENSION
        for number, module in imports(path)
        if module.startswith("lb._ext")
    )


def test_the_extension_imports_nothing_of_the_package() -> None:
    report(
        f"{path}:{number}: the data path knows nothing of the rest of lb"
        for path in sources(".py", ".pyx", ".pxd", under=("ext",))
        for number, line in rule_lines(path)
        if re.match(r"\s*(from|cimport|import)\s+lb\b(?!\._ext)", line)
    )


def test_c_functions_state_what_an_error_does() -> None:
    """Cython's default makes every caller acquire the GIL to ask whether there was an exception."""
    report(
        f"{path}:{number}: {name}() states neither `noexcept nogil` nor an except clause"
        for path in sources(".pyx", ".pxd", under=("ext",))
        for number, name, result, specification in c_functions(path)
        if result not in PYTHON_RESULTS and not re.search(r"\bnoexcept\s+nogil\b|\bexcept\b", specification)
    )


# ---- What stands beside the code --------------------------------------------------------------------


def test_readme_opens_with_the_two_commands() -> None:
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text(Path("README.md")), re.DOTALL | re.MULTILINE)
    commands = [line.removeprefix("$ ").split("#")[0].strip() for line in "".join(blocks[:2]).splitlines()]
    wanted = [command for command in commands if command.startswith("./dev")]
    assert wanted[:2] == ["./dev demo", "./dev test"], (
        "README.md: the first code blocks are to hold exactly ./dev demo and ./dev test"
    )


def test_json_schema_in_config_is_current() -> None:
    from lb.config.schema import json_schema

    written = json.loads(text(Path("config/lb.schema.json")))
    assert written == json_schema(), (
        "config/lb.schema.json is not what the model says; run: .venv/bin/lb schema > config/lb.schema.json"
    )


def test_table_of_keys_in_config_is_current() -> None:
    from lb.config.table import markdown

    assert text(Path("config/keys.md")) == markdown(), (
        "config/keys.md is not what the sections say; run: .venv/bin/lb schema --table > config/keys.md"
    )


@pytest.mark.parametrize("script", ["dev", ".ci/run"])
def test_scripts_can_be_executed(script: str) -> None:
    assert os.access(ROOT / script, os.X_OK), f"{script}: chmod +x"


def test_ci_runs_what_a_person_runs() -> None:
    assert re.search(r"^exec \./dev test$", text(Path(".ci/run")), re.MULTILINE), (
        ".ci/run: is to end in `exec ./dev test`, so that CI cannot drift from what people run"
    )


def test_container_has_no_compiler_and_no_root() -> None:
    final = re.split(r"^FROM ", text(Path("Dockerfile")), flags=re.MULTILINE)[-1]
    compiler = re.search(r"\b(gcc|g\+\+|clang|build-essential|make|apt-get|cython)\b", final, re.IGNORECASE)
    assert not compiler, f"Dockerfile: the final stage names {compiler and compiler[0]}"
    for line in ("USER lb", "STOPSIGNAL SIGTERM", 'ENTRYPOINT ["lb"]'):
        assert f"\n{line}\n" in final, f"Dockerfile: the final stage lacks {line}"
    assert "HEALTHCHECK" in final, "Dockerfile: the final stage lacks a HEALTHCHECK"


def test_every_package_and_module_is_in_the_build() -> None:
    """A folder or .pyx that pyproject.toml forgets works in the checkout and is missing in the wheel."""
    build = tomllib.loads(text(Path("pyproject.toml")))["tool"]["setuptools"]
    packages = {
        ".".join(path.parent.parts) for path in sources(".py", under=("lb",)) if path.name == "__init__.py"
    }
    assert set(build["packages"]) == packages | {"lb._ext"}
    modules = {f"lb._ext.{path.stem}" for path in sources(".pyx", under=("ext",))}
    assert {module["name"] for module in build["ext-modules"]} == modules


# ---- Shared by the rules ----------------------------------------------------------------------------


def report(found: Iterable[str]) -> None:
    if breaches := list(found):
        pytest.fail("\n".join(breaches), pytrace=False)


def pure_sources() -> list[Path]:
    return sources(".py", under=tuple(f"lb/{layer}" for layer in PURE_LAYERS))


def swallowed(handler: ast.ExceptHandler) -> str:
    if handler.type is None:
        return "bare except; name what can happen"
    everything = isinstance(handler.type, ast.Name) and handler.type.id in ("Exception", "BaseException")
    silent = all(isinstance(node, ast.Pass) for node in handler.body)
    return "everything is caught and nothing said; name what can happen" if everything and silent else ""
