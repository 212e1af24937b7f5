"""The house itself: packages resolve here, layers hold, README agrees with the registries."""

import ast
import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("algorithms", "bench", "partitions", "slurm")

ANYTHING = None
ALLOWED: dict[str, set[str] | None] = {
    "algorithms": {"algorithms", "numpy", "mpi4py"},
    "partitions": {"partitions", "numpy", "scipy", "sklearn"},
    "bench": ANYTHING,
    "slurm": {
        "slurm",
        "rich",
        *(
            f"bench.{x}"
            for x in ("measuring", "report", "reporting", "results", "runtime", "sweeping")
        ),
    },
}
HOMES = {
    "torch": ("bench/runtime/", "bench/tasks/"),
    "h5py": ("bench/results/", "bench/runtime/checkpoint", "bench/data/hdf5.py"),
}
"""Only modules below these may import them."""


def modules() -> list[Path]:
    return sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Full names of all modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names.add(node.module or "")
    return names


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_resolve_to_this_checkout(package: str) -> None:
    file = import_module(package).__file__
    assert file is not None
    assert Path(file).resolve() == ROOT / package / "__init__.py"
    assert (ROOT / package / "py.typed").exists()


def test_from_elsewhere_they_resolve_to_this_checkout_too(tmp_path: Path) -> None:
    code = "import algorithms, bench, partitions; print(algorithms.__file__, bench.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(ROOT / p / "__init__.py") for p in ("algorithms", "bench")]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_layers(path: Path) -> None:
    where = str(path.relative_to(ROOT))
    allowed = ALLOWED[where.partition("/")[0]]
    for name in imported(path):
        top = name.partition(".")[0]
        third_party = top not in sys.stdlib_module_names
        if allowed is not None and third_party:
            fine = top in allowed or any(name == a or name.startswith(a + ".") for a in allowed)
            assert fine, f"{where} imports {name}"
        if top in HOMES:
            assert where.startswith(HOMES[top]), f"{where} imports {name}"
        assert top != "tests", f"{where} imports {name}"
        if where.startswith("bench/results/"):
            assert not name.startswith("bench.reporting"), f"{where} imports {name}"


def test_comm_world_is_named_once() -> None:
    named = [path for path in modules() if "COMM_WORLD" in _code(path)]
    assert named == [ROOT / "bench/session/launch.py"]


def _code(path: Path) -> str:
    """A module without its strings and comments."""
    tree = ast.parse(path.read_text())
    names = [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return " ".join(names)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_are_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 220


def bench(*arguments: str, code: str = "") -> str:
    command = ["-c", code] if code else ["-m", "bench", *arguments]
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return done.stdout


def test_the_catalogue_names_everything() -> None:
    from bench.__main__ import REGISTRIES

    catalogue = json.loads(bench("list", "--json"))
    text = bench("list")
    assert set(catalogue) == set(REGISTRIES)
    for kind, registry in REGISTRIES.items():
        assert [entry["name"] for entry in catalogue[kind]] == list(registry)
        for entry in catalogue[kind]:
            assert entry["description"], f"{entry['name']} has no description"
            assert entry["name"] in text
            for option in entry["options"]:
                assert option["help"], f"{entry['name']}: {option['name']} has no help"
                assert f"{option['name']}={option['default']}" in text


def test_the_catalogue_needs_no_mpi_and_no_torch() -> None:
    code = (
        "import sys; from bench.__main__ import main; main(['list']);"
        "print([m for m in ('torch', 'mpi4py.MPI', 'h5py', 'sklearn') if m in sys.modules])"
    )
    assert bench(code=code).splitlines()[-1] == "[]"


def test_programs_are_listed() -> None:
    text = bench()
    for program in ("bench.train", "bench.report", "bench list"):
        assert program in text


def test_readme_names_everything_there_is() -> None:
    from bench.__main__ import REGISTRIES

    readme = (ROOT / "README.md").read_text()
    for kind, registry in REGISTRIES.items():
        (row,) = re.findall(rf"^\| {kind} \|(.*)\|$", readme, re.MULTILINE)
        assert re.findall(r"`(\w+)`", row) == list(registry), kind


def test_constraints_pin_every_version() -> None:
    lines = [x for x in (ROOT / "constraints.txt").read_text().splitlines() if x[:1] != "#"]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
