"""The documentation: sizes, links, and agreement with the code."""

import ast
import re
import textwrap
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from algorithms import protocol
from bench import __version__
from bench.list import registries
from tests.imports import ROOT
from tests.test_house import MODULES, ROOMS, bench

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
OPTIONS = {
    "--algorithm": "algorithms",
    "--partition": "partitions",
    "--task`, `--data": "tasks",
    "--allreduce": "allreduces",
    "--optimizer": "optimizers",
    "topology=": "topologies",
    "compressor=": "compressors",
    "--pipeline": "pipelines",
    "--controller": "controllers",
}
"""First cell of a row in README's table of options -> kind of the registry that it counts."""
REQUIREMENTS = ("install_requires", "extras_require")
PAGES = sorted((ROOT / "docs").glob("*.md"))


def text(name: str) -> str:
    return (ROOT / name).read_text()


@pytest.mark.parametrize(("name", "limit"), [("README.md", 9_000), ("CONTRIBUTING.md", 3_000)])
def test_entry_pages_are_short(name: str, limit: int) -> None:
    assert len(text(name).encode()) <= limit
    assert [line for line in text(name).splitlines() if len(line) > 120] == []


def test_changelog_entries_are_short() -> None:
    sections = text("CHANGELOG.md").split("\n## ")[1:]
    lines = {x.partition("\n")[0]: x.strip().count("\n") + 1 for x in sections}
    assert {version: n for version, n in lines.items() if n > 40} == {}


def test_versions_agree() -> None:
    assert f'version="{__version__}"' in text("setup.py")
    assert f"\nversion: {__version__}\n" in text("CITATION.cff")
    assert f"version = {{{__version__}}}" in text("README.md")
    assert f"\n## {__version__}\n" in text("CHANGELOG.md")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "contrib/reframe/README.md"])
def test_links_resolve(name: str) -> None:
    folder = (ROOT / name).parent
    for target in LINK.findall(text(name)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        assert (folder / path).exists(), target
        assert not anchor or anchor in anchors(folder / path), target


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as mkdocs makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", x.lower())) for x in headings}


@pytest.mark.parametrize("page", [ROOT / "CONTRIBUTING.md", *PAGES], ids=lambda x: x.name)
def test_named_files_exist(page: Path) -> None:
    rooms = "algorithms|bench|contrib|partitions|slurm|tests"
    code = set(re.findall(rf"(?<![\w/.])((?:{rooms})/[\w./]*\w/?)", page.read_text()))
    assert [x for x in code if "NAME" not in x and not (ROOT / x).exists()] == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda x: x.name)
def test_named_modules_and_functions_exist(page: Path) -> None:
    for name in re.findall(r"(?<![\w/.-])((?:bench|slurm)(?:\.[a-z_]+)+)\b", page.read_text()):
        module, _, function = name.rpartition(".")
        assert name in MODULES or hasattr(import_module(module), function), name


def test_readme_counts_the_choices() -> None:
    rows = dict(re.findall(r"^\| `(.*?)` \| (\d+)[: ]", text("README.md"), re.MULTILINE))
    counts = {option: str(len(registries()[kind])) for option, kind in OPTIONS.items()}
    assert rows == counts


def test_readme_shows_the_algorithm_of_the_protocol() -> None:
    (example,) = re.findall(r"^```python\n(.*?)\n```$", text("README.md"), re.DOTALL | re.MULTILINE)
    assert textwrap.indent(example, "    ") in (protocol.__doc__ or "")
    names: dict[str, Any] = {}
    exec(example, names)
    assert names["RingAverage"](lazy=0.25).lazy == 0.25


def test_the_catalogue_page_is_current() -> None:
    assert text("docs/catalogue.md") == bench("list", "--markdown")


def test_the_algorithm_table_names_every_algorithm() -> None:
    section = text("docs/training.md").partition("## Algorithms")[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    names = re.findall(r"`(\w+)`", " ".join(line.split("|")[3] for line in table))
    assert sorted(names) == sorted(registries()["algorithms"])


@pytest.mark.parametrize(("heading", "kind"), [("Partitions", "partitions"), ("Tasks", "tasks")])
def test_the_data_page_names_every(heading: str, kind: str) -> None:
    section = text("docs/data.md").partition(f"## {heading}")[2].partition("\n## ")[0]
    first = " ".join(x.split("|")[1] for x in section.splitlines() if x.startswith("|"))
    assert sorted(re.findall(r"`(\w+)`", first)) == sorted(registries()[kind])


def test_the_room_table_is_that_of_the_test() -> None:
    section = text("docs/architecture.md").partition("## Rooms")[2].partition("\n## ")[0]
    rows = [
        [cell.strip(" `") for cell in row]
        for row in (
            line.strip("|").split("|") for line in section.splitlines() if line.startswith("| `")
        )
    ]
    table = {
        room: (set(re.findall(r"[\w.]+", rooms)), set(re.findall(r"\w+", packages)))
        for room, _, rooms, packages in rows
    }
    assert table == {room: (set(a.split()), set(b.split())) for room, (a, b) in ROOMS.items()}


def test_every_program_is_in_the_guide() -> None:
    from bench.__main__ import programs

    guide = text("docs/getting-started.md")
    assert [name for name in programs() if f"`{name}`" not in guide] == []


def test_every_requirement_is_pinned() -> None:
    (call,) = [x for x in ast.walk(ast.parse(text("setup.py"))) if isinstance(x, ast.Call)][:1]
    lists = {x.arg: ast.literal_eval(x.value) for x in call.keywords if x.arg in REQUIREMENTS}
    names = [*lists["install_requires"], *chain(*lists["extras_require"].values())]
    pins = {x.partition("==")[0].lower() for x in text("constraints.txt").splitlines()}
    assert {x.lower() for x in names} <= pins
