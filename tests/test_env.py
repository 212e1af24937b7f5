"""env.sh: the environment that it sets up in each shell, and its single message."""

import shutil
import subprocess
import venv
from pathlib import Path

import pytest

from slurm.local import OPENMPI
from tests.imports import ROOT

SHELLS = [x for x in ("bash", "dash", "zsh") if shutil.which(x)]
SHOW = """
command -v python
echo $OMPI_ALLOW_RUN_AS_ROOT $OMPI_MCA_osc $OMPI_MCA_btl $OMP_NUM_THREADS"""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with env.sh and an environment."""
    folder = tmp_path_factory.mktemp("a checkout")
    shutil.copy(ROOT / "env.sh", folder)
    venv.create(folder / ".venv", with_pip=False)
    (folder / ".venv" / "ready").touch()
    return folder


def shell(name: str, script: str, folder: Path, **variables: str) -> tuple[int, list[str], str]:
    """Return exit code, output lines and errors of a script in a fresh shell."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder)} | variables
    command = [shutil.which(name) or name, "-c", script]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout.splitlines(), done.stderr


@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_enters_the_environment(name: str, checkout: Path) -> None:
    code, lines, errors = shell(name, f"set -eu; . ./env.sh; . ./env.sh; {SHOW}", checkout)
    assert (code, errors) == (0, "")
    assert lines == [str(checkout / ".venv/bin/python"), "1 ^ucx ^ofi 1"]


@pytest.mark.parametrize("name", [x for x in SHELLS if x != "dash"])
def test_another_folder_and_variables_of_the_user(name: str, checkout: Path) -> None:
    script = f"cd /; source '{checkout}/env.sh'; {SHOW}; echo $PATH"
    _, lines, _ = shell(name, script, checkout, OMP_NUM_THREADS="3", OMPI_MCA_osc="rdma")
    assert lines[:2] == [str(checkout / ".venv/bin/python"), "1 rdma ^ofi 3"]
    assert lines[2].count(".venv/bin") == 1


@pytest.mark.parametrize("name", SHELLS)
def test_a_missing_environment_is_one_line(name: str, tmp_path: Path) -> None:
    shutil.copy(ROOT / "env.sh", tmp_path)
    code, lines, errors = shell(name, ". ./env.sh || echo refused", tmp_path)
    assert (code, lines) == (0, ["refused"])
    assert errors.count("\n") == 1
    assert f"{tmp_path}/.venv yet: run `make venv`" in errors


def test_local_sweeps_use_the_same_variables(checkout: Path) -> None:
    names = "; ".join(f'echo "${x}"' for x in OPENMPI)
    code, lines, _ = shell("sh", f". ./env.sh; {names}", checkout)
    assert code == 0
    assert lines == list(OPENMPI.values())
