"""Tests of the packages, the import rules between rooms, and the catalogue."""

import ast
import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from bench.__main__ import main
from tests.imports import (
    PACKAGES,
    ROOT,
    cycles,
    graph,
    imports,
    module_of,
    modules,
    nodes,
    room,
)

WIRE = "algorithms.wire"
CORE = f"algorithms algorithms.exchange algorithms.topologies {WIRE}"
RUN = "bench.common bench.results bench.runtime bench.session"

ROOMS: dict[str, tuple[str, str]] = {
    "algorithms.wire": ("", "mpi4py numpy"),
    "algorithms.topologies": ("bench.common", "numpy"),
    "algorithms.compressors": ("", "numpy"),
    "algorithms.collectives": (WIRE, "mpi4py numpy"),
    "algorithms.pipelines": ("", ""),
    "algorithms.niching": ("", "numpy"),
    "algorithms": (
        f"algorithms.compressors algorithms.niching algorithms.topologies {WIRE}",
        "numpy",
    ),
    "algorithms.controllers": ("algorithms bench.common", "numpy"),
    "algorithms.exchange": (
        f"algorithms algorithms.collectives algorithms.topologies {WIRE}",
        "mpi4py numpy",
    ),
    "partitions": ("bench.common", "numpy scipy sklearn"),
    "bench": ("", ""),
    "bench.common": ("", ""),
    "bench.optimizers": ("algorithms", "numpy torch"),
    "bench.device": (f"algorithms algorithms.exchange {WIRE} bench.common", "mpi4py numpy torch"),
    "bench.data": ("bench.common", "h5py numpy pandas sklearn"),
    "bench.tasks": ("algorithms bench.common bench.data partitions", "numpy scipy torch"),
    "bench.results": (f"{WIRE} bench.common", "h5py mpi4py numpy"),
    "bench.session": ("bench.common bench.results", "mpi4py numpy rich torch"),
    "bench.runtime": (
        f"{CORE} algorithms.collectives algorithms.controllers algorithms.pipelines bench "
        "bench.common bench.data bench.device "
        "bench.optimizers bench.results bench.session bench.tasks partitions",
        "h5py mpi4py numpy rich safetensors torch",
    ),
    "bench.check": (
        f"{CORE} algorithms.controllers bench.device {RUN} bench.tasks partitions",
        "mpi4py numpy torch",
    ),
    "bench.loop": (
        f"algorithms algorithms.exchange {WIRE} bench.data {RUN}",
        "mpi4py numpy torch",
    ),
    "bench.yardsticks": (f"algorithms.pipelines {WIRE} {RUN} bench.tasks", "mpi4py numpy torch"),
    "bench.collectives": (f"algorithms.collectives {WIRE} {RUN} bench.yardsticks", "mpi4py numpy"),
    "bench.consensus": (f"{CORE} {RUN}", "mpi4py numpy"),
    "bench.simulate": (
        f"algorithms algorithms.collectives algorithms.exchange algorithms.pipelines {WIRE} {RUN}",
        "mpi4py numpy",
    ),
    "bench.reporting": (
        f"{WIRE} bench bench.common bench.results",
        "altair jinja2 markupsafe numpy pandas pyarrow rich vl_convert",
    ),
    "bench.pipeline": (
        f"algorithms.pipelines {WIRE} bench.collectives {RUN} bench.tasks bench.yardsticks",
        "mpi4py numpy rich",
    ),
    "bench.chaos": (f"{RUN} bench.reporting", "mpi4py numpy rich"),
    "bench.report": ("bench.common bench.reporting bench.results", ""),
    "bench.compare": (
        "bench.common bench.reporting bench.results",
        "altair numpy pandas rich scipy",
    ),
    "bench.fetch": ("bench.common bench.data bench.session", "rich"),
    "bench.merge": ("bench.common bench.results bench.runtime bench.session", "rich"),
    "bench.overhead": (
        f"algorithms.collectives {WIRE} {RUN} bench.tasks bench.yardsticks",
        "mpi4py numpy",
    ),
    "bench.partition": (f"bench.reporting {RUN}", "mpi4py rich"),
    "bench.place": (
        f"algorithms.controllers algorithms.exchange {RUN} partitions",
        "mpi4py numpy rich",
    ),
    "bench.train": (RUN, "mpi4py numpy"),
    "bench.sweep": (f"{RUN} bench.reporting bench.train", "mpi4py rich"),
    "bench.trace": (f"{WIRE} bench.common bench.results", "numpy"),
    "bench.watch": (f"{WIRE} bench.common bench.reporting bench.results", "numpy rich"),
    "bench.__main__": ("bench.common bench.session", ""),
    "bench.list": (
        "algorithms algorithms.collectives algorithms.compressors algorithms.controllers "
        "algorithms.pipelines "
        "algorithms.topologies bench.common bench.optimizers bench.tasks partitions",
        "",
    ),
    "slurm": (f"bench {RUN} bench.collectives bench.report bench.reporting bench.sweep", "rich"),
}
"""Rooms and third-party packages that each room may import.

A room is a folder at depth two, a package without subfolders, or a program that is one file.
"""
HOMES = {"h5py": ("bench/results/", "bench/runtime/checkpoint", "bench/data/hdf5.py")}
"""Path prefixes of the modules that may import a package."""
MODULES = modules()


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_resolve_to_this_checkout(package: str) -> None:
    file = import_module(package).__file__
    assert file is not None
    assert Path(file).resolve() == ROOT / package / "__init__.py"
    assert (ROOT / package / "py.typed").exists()


def test_packages_resolve_to_this_checkout_from_another_folder(tmp_path: Path) -> None:
    code = "import algorithms, bench, partitions; print(algorithms.__file__, bench.__file__)"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == [str(ROOT / p / "__init__.py") for p in ("algorithms", "bench")]


@pytest.mark.parametrize("name", MODULES)
def test_imports_follow_the_table_of_rooms(name: str) -> None:
    file = str(MODULES[name].relative_to(ROOT))
    rooms, packages = (set(x.split()) for x in ROOMS[room(name)])
    for full in imports(MODULES[name]):
        top = full.partition(".")[0]
        if top in PACKAGES:
            assert room(module_of(full, MODULES)) in rooms | {room(name)}, f"{file}: {full}"
        else:
            assert top in packages or top in sys.stdlib_module_names, f"{file}: {full}"
        if top in HOMES:
            assert file.startswith(HOMES[top]), f"{file}: {full}"


def test_imports_have_no_cycles() -> None:
    files = graph(MODULES)
    assert cycles(files) == []
    assert cycles({name: allowed.split() for name, (allowed, _) in ROOMS.items()}) == []
    assert {room(name) for name in MODULES} == set(ROOMS), "the table lists every room"


def test_only_the_launch_uses_comm_world() -> None:
    paths = [path for path in MODULES.values() if "COMM_WORLD" in _attributes(path)]
    assert paths == [ROOT / "bench/session/launch.py"]


def _attributes(path: Path) -> set[str]:
    """Return the names of all attributes in a module, without strings and comments."""
    return {node.attr for node in nodes(path) if isinstance(node, ast.Attribute)}


def test_modules_have_at_most_320_lines() -> None:
    long = {
        name: n for name, path in MODULES.items() if (n := len(path.read_text().splitlines())) > 320
    }
    assert long == {}, "split each module of more than 320 lines by subject"


def bench(*arguments: str) -> str:
    """Return the output of `python -m bench`."""
    command = ["-m", "bench", *arguments]
    result = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return result.stdout


def test_the_catalogue_is_complete() -> None:
    from bench.list import registries

    catalogue = json.loads(bench("list", "--json"))
    text = bench("list")
    assert set(catalogue) == set(registries())
    for kind, registry in registries().items():
        assert [entry["name"] for entry in catalogue[kind]] == list(registry)
        for entry in catalogue[kind]:
            assert entry["description"], f"{entry['name']} has no description"
            assert entry["name"] in text
            for option in entry["options"]:
                assert option["help"], f"{entry['name']}: {option['name']} has no help"
                assert f"{option['name']}={option['default']}" in text


def test_the_markdown_catalogue_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    from bench.list import registries

    assert main(["list", "--markdown"]) == 0
    text = capsys.readouterr().out
    for kind, registry in registries().items():
        section = text.partition(f"\n## {kind.capitalize()}\n")[2].partition("\n## ")[0]
        assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == list(registry)


def test_programs_are_listed() -> None:
    names = re.findall(r"^  ([\w.]+)  +[A-Z]", bench(), re.MULTILINE)
    assert {"train", "report", "list", "sweep", "slurm.submit"} <= set(names)


@pytest.mark.parametrize(
    ("name", "kinds", "words"),
    [
        ("push_sum", ["algorithms"], "Assran, Loizou, Ballas, Rabbat"),
        (
            "ring",
            ["allreduces", "reduce_scatter", "all_gather", "topologies"],
            "Patarasuk, Yuan",
        ),
        ("dirichlet", ["partitions"], "min_size="),
        ("topology", ["topologies"], "erdos_renyi"),
    ],
)
def test_one_name_or_kind_is_listed(
    name: str, kinds: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", name]) == 0
    assert words in capsys.readouterr().out
    assert main(["list", name, "--json"]) == 0
    entries = json.loads(capsys.readouterr().out)
    assert list(entries) == kinds
    if name not in ("topology",):
        assert [[x["name"] for x in some] for some in entries.values()] == [[name]] * len(kinds)


def test_constraints_pin_every_version() -> None:
    lines = [x for x in (ROOT / "constraints.txt").read_text().splitlines() if x[:1] != "#"]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
