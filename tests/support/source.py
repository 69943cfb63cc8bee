"""Our own source, read as text: which files there are, and what stands in them.

Python is parsed with `ast`. Cython has no such door, so its functions are found by shape: a head, and
the lines indented below it. Paths are relative to the root, as they are printed.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent


class CFunction(NamedTuple):
    """The head of one `cdef` or `cpdef` function: what stands before its name, and after its arguments."""

    line: int
    name: str
    result: str
    specification: str


def sources(*suffixes: str, under: tuple[str, ...] = ("lb", "ext", "tests", "bench", ".")) -> list[Path]:
    """Files of ours, relative to the root; "." stands for the top folder alone. Nothing a build made."""
    found: set[Path] = set()
    for folder in under:
        for path in (ROOT / folder).glob("*" if folder == "." else "**/*"):
            relative = path.relative_to(ROOT)
            generated = {"build", "results", "__pycache__"} & set(relative.parts[:-1])
            linked = relative.parts[:2] == ("lb", "_ext")  # seen as ext/
            if path.suffix in suffixes and path.is_file() and not generated and not linked:
                found.add(relative)
    return sorted(found)


def text(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def lines(path: Path) -> list[str]:
    return text(path).splitlines()


def rule_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file that ask for no exception, numbered from 1."""
    return ((number, line) for number, line in enumerate(lines(path), 1) if "# tidy: " not in line)


def tree(path: Path) -> ast.Module:
    return ast.parse(text(path), filename=str(path))


def functions(path: Path) -> Iterator[tuple[str, int, int]]:
    """Name, first line and length of every function."""
    if path.suffix == ".py":
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node.name, node.lineno, (node.end_lineno or node.lineno) - node.lineno + 1
        return
    head = re.compile(r"(\s*)(?:async\s+def|def|cdef|cpdef)\b[^=]*?\b(\w+)\s*\(")
    other = re.compile(r"\s*cdef\s+(class|extern|struct|enum|union)\b")
    body = lines(path)
    for first, line in enumerate(body):
        if (match := head.match(line)) and not other.match(line):
            yield match[2], first + 1, indented(body[first + 1 :], match[1]) + 1


def indented(body: list[str], margin: str) -> int:
    """How many lines from the first lie inside a block whose head begins after `margin`."""
    length = 0
    for number, line in enumerate(body, 1):
        if not line.strip():
            continue
        if not line.startswith((margin + " ", margin + ")")):
            break
        length = number
    return length


def c_functions(path: Path) -> Iterator[CFunction]:
    """Every function a `cdef` or `cpdef` declares or defines; declarations of C's own are not ours."""
    source = without_words(text(path))
    head = re.compile(
        r"^[ \t]*cp?def[ \t]+(?!class\b|extern\b|struct\b|enum\b|union\b|packed\b|cppclass\b)"
        r"((?:inline[ \t]+|public[ \t]+|api[ \t]+)*)([^\n=()\[\]]*?[ *])?(\w+)[ \t]*\(",
        re.MULTILINE,
    )
    for match in head.finditer(source):
        depth, end = 1, match.end()
        while depth and end < len(source):
            depth += {"(": 1, ")": -1}.get(source[end], 0)
            end += 1
        after = re.match(r"[^:\n]*", source[end:])
        line = source.count("\n", 0, match.start()) + 1
        yield CFunction(line, match[3], (match[2] or "object").strip(), after[0] if after else "")


def without_words(source: str) -> str:
    """Cython source with strings and comments blanked out; every line keeps its number."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    return re.sub(r'"""(?:.|\n)*?"""|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|#[^\n]*', blank, source)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and absolute name of everything a module imports, wherever in it."""
    package = path.parent.parts
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*above, *filter(None, [node.module])))
            yield node.lineno, module
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def identifiers(path: Path) -> Iterator[tuple[int, str]]:
    """Line and name of what a file names itself; what it only calls is named by others."""
    if path.suffix != ".py":
        for number, line in enumerate(without_words(text(path)).splitlines(), 1):
            yield from ((number, word) for word in re.findall(r"[A-Za-z_]\w*", line))
        return
    for node in ast.walk(tree(path)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.arg(arg=name):
                yield node.lineno, name


def words_of(identifier: str) -> set[str]:
    """`HealthyBackends` and `healthy_backends` are both {healthy, backend}."""
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", identifier).lower().split("_")
    return {word.removesuffix("s") for word in words} | set(words)
