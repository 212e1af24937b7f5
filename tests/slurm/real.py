"""Whether there is a Slurm to submit to: `eval "$(sudo slurm/devcluster up)"` makes one."""

import os
import shutil
import subprocess

import pytest

from tests.launching import DEADLINE_S

REQUIRED = "MURMURATION_REQUIRE_SLURM"
"""The variable that makes the absence of a Slurm a failure."""


def why_no_slurm() -> str:
    """The reason why no job can be submitted here; empty where one can."""
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
