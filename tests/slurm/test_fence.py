"""Tests of the fence at the start of ranks on several nodes of Slurm."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.launching import DEADLINE_S
from tests.slurm.jobs import CHECKOUT, environment

LATE = """\
import sys, time
from pathlib import Path
from mpi4py import MPI
from bench.session.launch import fence

here = Path(sys.argv[1])
if MPI.COMM_WORLD.rank == 1:
    time.sleep(1)
    here.touch()
fence()
print(here.exists())
"""


@pytest.mark.usefixtures("slurm")
def test_no_rank_leaves_the_fence_before_all_arrive(tmp_path: Path) -> None:
    srun = ("srun", "--mpi=pmix", "--nodes=2", "--ntasks=2", sys.executable, "-c", LATE)
    done = subprocess.run(
        (*srun, str(tmp_path / "here")),
        cwd=CHECKOUT,
        env=environment({}),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["True", "True"]), done.stderr
