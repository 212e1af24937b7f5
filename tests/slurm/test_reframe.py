"""Tests of contrib/reframe: ReFrame lists the tests and runs two of them by mpirun."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from algorithms import ALGORITHMS
from algorithms.collectives import ALLREDUCES
from tests.launching import DEADLINE_S

FOLDER = Path(__file__).resolve().parents[2] / "contrib" / "reframe"
REFRAME = shutil.which(
    "reframe", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
)
pytestmark = pytest.mark.skipif(REFRAME is None, reason="ReFrame is not installed")


def reframe(folder: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ReFrame on the tests of the suite with its output in a folder."""
    ours = ["-C", str(FOLDER / "settings.py"), "-c", str(FOLDER / "murmuration.py")]
    return subprocess.run(
        [REFRAME or "reframe", "--nocolor", *ours, *options],
        cwd=folder,
        env=os.environ | {"MURMURATION_PYTHON": sys.executable} | variables,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


def test_listed_tests_use_registered_names(tmp_path: Path) -> None:
    done = reframe(tmp_path, "--list")
    assert done.returncode == 0, done.stdout + done.stderr
    listed = re.findall(r"^- (\w+) %ranks=(\d+) %algorithm=(\w+) ", done.stdout, re.MULTILINE)
    names = {"Collectives": set(ALLREDUCES), "Training": set(ALGORITHMS)}
    assert {(name, ranks) for name, ranks, _ in listed} == {(x, n) for x in names for n in "24"}
    assert [x for x in listed if x[2] not in names[x[0]]] == []


REFERENCES = """\
["here:mpirun"."Collectives %ranks=2 %algorithm=ring"]
p50_smallest = [1e6, -inf, 0, "us"]
busbw_largest = [1e6, -0.1, inf, "GB/s"]
["here:mpirun"."Training %ranks=2 %algorithm=push_sum"]
step_p50 = [1e-6, 0, inf, "ms"]
"""
"""An unreachable bus bandwidth; every machine meets the other references."""


def test_two_tests_run_and_one_misses_its_reference(tmp_path: Path) -> None:
    (tmp_path / "references.toml").write_text(REFERENCES)
    few = ["-S", "Collectives.sizes=1K:4K:x4", "-S", "Collectives.options=-n 3 --ci 0.9 --time 1"]
    chosen = ["--run", "-n", "ranks=2.*(ring|push_sum)", "-S", "Training.steps=20", *few]
    chosen += ["-S", "Training.task=logistic"]
    done = reframe(tmp_path, *chosen, MURMURATION_REFERENCES=str(tmp_path / "references.toml"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"^\[ +OK \] \(./2\) Training", done.stdout, re.MULTILINE), done.stdout
    failed = re.findall(r"Reason: (.*)$", done.stdout, re.MULTILINE)
    assert len(failed) == 1, done.stdout
    assert failed[0].startswith("performance error: failed to meet reference(s): busbw_largest=")
    names = re.findall(r"P: (\w+): [\d.e-]+ ", done.stdout)
    expected = {
        "busbw_largest",
        "metric",
        "p50_smallest",
        "pace",
        "step",
        "step_p50",
        "vs_library_largest",
    }
    assert set(names) == expected
