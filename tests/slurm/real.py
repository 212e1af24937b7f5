"""Detection of a running Slurm; `eval "$(sudo slurm/devcluster up)"` starts one."""

import os
import shutil
import subprocess

import pytest

from tests.launching import DEADLINE_S

REQUIRED = "MURMURATION_REQUIRE_SLURM"
"""Variable that turns the skip without a Slurm into a failure."""


def missing_slurm() -> str:
    """Return the reason why no job can be submitted; empty if Slurm answers."""
    if not shutil.which("sbatch") or not shutil.which("sinfo"):
        return "no Slurm here: sinfo or sbatch is missing"
    try:
        done = subprocess.run(
            ["sinfo"], capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return "no Slurm here: sinfo does not answer"
    if done.returncode:
        return f"no Slurm here: {' '.join(done.stderr.splitlines()[-1:])}"
    return ""


def skip_or_fail(reason: str) -> None:
    """Skip the test for this reason; fail it with MURMURATION_REQUIRE_SLURM=1."""
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{reason}, but {REQUIRED}=1")
    pytest.skip(reason)
