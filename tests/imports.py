"""Import graph of the checkout, between files and between rooms."""

import ast
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("algorithms", "bench", "partitions", "slurm")


def modules() -> dict[str, Path]:
    """Return the path of every module of the suite, by dotted name."""
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for name in PACKAGES
        for path in sorted((ROOT / name).rglob("*.py"))
    }


@cache
def nodes(path: Path) -> list[ast.AST]:
    """Return the nodes of the syntax tree of a file; each file is read once."""
    return list(ast.walk(ast.parse(path.read_text())))


@cache
def imports(path: Path) -> set[str]:
    """Return the full names that a file imports, also in functions and under TYPE_CHECKING.

    `from a import b` counts as a.b: it may be a module or a name of one.
    """
    names = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def graph(paths: Mapping[str, Path]) -> dict[str, set[str]]:
    """Return the modules of the suite that each module imports."""
    return {
        name: {module for x in imports(path) if (module := module_of(x, paths))} - {name}
        for name, path in paths.items()
    }


def module_of(name: str, candidates: Iterable[str]) -> str:
    """Return the module of a full name; an empty string for a name of another package."""
    return next((x for x in (name, name.rpartition(".")[0]) if x in candidates), "")


def room(name: str) -> str:
    """Return the room of a module: its folder at depth two, or the module for bench/*.py."""
    parts = name.split(".")
    path = ROOT.joinpath(*parts)
    folder = parts if path.is_dir() else parts[:-1]
    return ".".join(parts if folder == ["bench"] else folder[:2])


def cycles(edges: Mapping[str, Iterable[str]]) -> list[list[str]]:
    """Return the strongly connected components that contain a cycle, each sorted."""
    reach = {node: _reachable(node, edges) for node in edges}
    groups = {
        tuple(sorted({node} | {x for x in reach[node] if node in reach[x]}))
        for node in edges
        if node in reach[node]
    }
    return [list(group) for group in sorted(groups)]


def _reachable(start: str, edges: Mapping[str, Iterable[str]]) -> set[str]:
    """Return all nodes at the end of a path from the start."""
    visited: set[str] = set()
    todo = list(edges[start])
    while todo:
        node = todo.pop()
        if node not in visited:
            visited.add(node)
            todo += edges[node]
    return visited
