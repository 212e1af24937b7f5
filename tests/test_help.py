"""--help of every program, and the packages that it must not import to be quick."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.imports import ROOT

PACKAGES = (
    *("numpy", "pandas", "torch", "h5py", "scipy", "sklearn", "mpi4py"),
    *("altair", "vl_convert", "pyarrow", "jinja2", "rich"),
)
"""Third-party packages, of which numpy alone takes 0.1 s to import."""
CODE = """
import io, json, runpy, sys
module, *sys.argv[1:] = sys.argv[1:]
stdout, sys.stdout = sys.stdout, io.StringIO()
try:
    runpy.run_module(module, run_name="__main__", alter_sys=True)
except SystemExit as error:
    code = error.code
print(json.dumps([code, sys.stdout.getvalue(), sorted(sys.modules)]), file=stdout)
"""
"""Run a module; print its exit code, its output and the modules that are loaded at its end."""


def program(path: Path) -> str:
    """Return the name of a module for `python -m`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__")


PROGRAMS = sorted(
    program(path)
    for room in ("bench", "slurm")
    for path in (ROOT / room).rglob("*.py")
    if 'if __name__ == "__main__":' in path.read_text() and "devcluster" not in path.parts
)


def run(*command: str) -> tuple[int, str, set[str]]:
    """Return exit code, output and loaded modules of `python -m` with these arguments."""
    done = subprocess.run(
        [sys.executable, "-c", CODE, *command], capture_output=True, text=True, check=True, cwd=ROOT
    )
    code, output, modules = json.loads(done.stdout)
    return code, output, set(modules)


def test_every_program_is_found() -> None:
    assert {"bench", "bench.train", "bench.collectives", "slurm.submit"} <= set(PROGRAMS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_help_imports_no_third_party_package(name: str) -> None:
    code, output, modules = run(name, "--help")
    assert code == 0
    assert output.startswith("usage: ")
    assert modules.isdisjoint(PACKAGES), modules & set(PACKAGES)


@pytest.mark.parametrize("room", ["bench", "slurm"])
def test_ctrl_c_while_modules_load_is_one_line(room: str) -> None:
    code = f"import sys; sys.argv[0] = '-m'; import {room}; raise {{}}"
    for error, shown in (("KeyboardInterrupt", "interrupted\n"), ("OSError", "Traceback ")):
        done = subprocess.run(
            [sys.executable, "-c", code.format(error)],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
        )
        assert done.stderr.startswith(shown)
        assert done.returncode == (-signal.SIGINT if error == "KeyboardInterrupt" else 1)


def test_programs_run_by_their_short_name() -> None:
    code, output, modules = run("bench", "train", "--help")
    assert code == 0
    assert output == run("bench.train", "--help")[1]
    assert modules.isdisjoint(PACKAGES), modules & set(PACKAGES)


def test_the_console_script_is_the_module() -> None:
    assert '"murmuration = bench.__main__:main"' in (ROOT / "setup.py").read_text()


def test_the_catalogue_imports_numpy_alone() -> None:
    code, output, modules = run("bench", "list")
    assert code == 0
    assert output.startswith("algorithms\n")
    assert modules & set(PACKAGES) <= {"numpy"}
