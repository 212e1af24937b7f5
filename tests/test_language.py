"""Tests of the language of the project: openings of docstrings, words, and names.

Together with rule D401 of ruff, which requires an imperative first line, they enforce the section
English of the style guide.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator

import pytest

from tests.imports import ROOT

OPENING = re.compile(
    r"(What|Who|Whom|Whose|Whether|Whatever|Whoever|Where|How|Why|Which|When|By what|Of what|"
    r"From what|To what|That|Those|Such|So|Of|By)\b"
)
"""Words that must not open the docstring of a module, class or function."""
WORDS = re.compile(
    r"\b(whatever|whoever|whosoever|whom|wherever|thereof|told of|tells of|goes on|go on|says so|"
    r"of its own kind|anew)\b",
    re.IGNORECASE,
)
"""Words that docstrings and comments must not contain."""
NAMES = frozenset(
    (
        "told",
        "held",
        "found",
        "made",
        "said",
        "seen",
        "given",
        "wanted",
        "kept",
        "asked",
        "meant",
        "begun",
        "gone",
        "taken",
        "those",
        "mine",
    )
)
"""Participles and pronouns that name no function, class, variable, argument or attribute."""
TEST_NAME = re.compile(
    r"test_(what|who|whom|those|where|whether|whoever|whatever|how)_|_those_that_|_of_what_|_who_|"
    r"_whose_"
)
"""Relative clauses in names of tests."""
CHECKPOINTED = {"algorithms/robust_push_sum.py": "taken"}
"""Names of State fields that checkpoints of version 0.1 contain."""
FOLDERS = ("algorithms", "bench", "partitions", "slurm", "tests")
FILES = {
    str(path.relative_to(ROOT)): path
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
}
EXPLICIT = {"tests/test_language.py"}
"""Files that contain the banned words as data."""


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and text of each docstring, those of attributes included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for child in node.body:
                if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                    text = child.value.value
                    if isinstance(text, str):
                        yield child.lineno, text


def comments(text: str) -> Iterator[tuple[int, str]]:
    """Yield the line and text of each comment."""
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the line and name of each definition, argument, and assigned variable or attribute."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield node.lineno, name
            case ast.arg(arg=name):
                yield node.lineno, name
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name


def flaws(text: str) -> list[str]:
    """Return a line for each flaw in the text of a module."""
    tree = ast.parse(text)
    result = []
    for line, docstring in docstrings(tree):
        if opening := OPENING.match(docstring.strip()):
            result.append(f"{line}: the docstring opens with {opening[0]!r}")
        result += [f"{line}: the docstring contains {word!r}" for word in WORDS.findall(docstring)]
    for line, comment in comments(text):
        result += [f"{line}: the comment contains {word!r}" for word in WORDS.findall(comment)]
    for line, name in names(tree):
        if name.strip("_") in NAMES:
            result.append(f"{line}: the name {name!r} is not a noun or a verb")
        if TEST_NAME.search(name):
            result.append(f"{line}: the name {name!r} contains a relative clause")
    return result


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        ('"""What a round costs."""', "1: the docstring opens with 'What'"),
        ('"""Bytes of a round.\n\nCounted anew."""', "1: the docstring contains 'anew'"),
        ("x = 1  # whatever it is", "1: the comment contains 'whatever'"),
        ("def f(told: int) -> None: ...", "1: the name 'told' is not a noun or a verb"),
        ("self._kept = 1", "1: the name '_kept' is not a noun or a verb"),
        ("def test_what_travels(): ...", "1: the name 'test_what_travels' contains a relative"),
    ],
)
def test_each_rule_finds_its_flaw(text: str, flaw: str) -> None:
    (line,) = flaws(text)
    assert line.startswith(flaw)


def test_plain_english_has_no_flaw() -> None:
    assert flaws('"""Return the bytes of a round."""\nrows = 1  # one for each worker\n') == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_files_are_in_plain_english(folder: str) -> None:
    lines = [
        f"{name}:{flaw}"
        for name, path in FILES.items()
        if name.startswith(f"{folder}/") and name not in EXPLICIT
        for flaw in flaws(path.read_text())
        if name not in CHECKPOINTED or f"{CHECKPOINTED[name]!r}" not in flaw
    ]
    assert not lines, "\n".join(lines)
