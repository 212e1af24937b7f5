"""Where a run ran: hosts, cores, versions, environment; secrets never."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

PREFIXES = ("OMP_", "MKL_", "OMPI_MCA_", "PRTE_MCA_", "UCX_", "FI_", "HDF5_", "TORCH_", "NCCL_")
SLURM = re.compile(
    "SLURM_(JOB_(ID|NAME|PARTITION|NODELIST|NUM_NODES)|CLUSTER_NAME|N?TASKS(_PER_NODE)?|CPUS_PER_TASK"
    "|CPU_BIND|STEP_ID|RESTART_COUNT|ARRAY_(JOB|TASK)_ID|MPI_TYPE|DISTRIBUTION)"
)
SECRET = re.compile("KEY|TOKEN|SECRET|PASS|JWT|CRED|AUTH|COOKIE", re.IGNORECASE)
PACKAGES = ("murmuration", "torch", "numpy", "mpi4py", "openmpi", "mpich", "h5py", "scikit-learn")


def environment(variables: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables that change how MPI, Slurm and the threads behave; an allow-list."""
    return {
        key: value
        for key, value in sorted(variables.items())
        if (SLURM.fullmatch(key) or key.startswith(PREFIXES))
        and not SECRET.search(key)
        and not key.endswith("_env_list")  # mpirun -x: names and values of other variables
    }


def packages() -> dict[str, str]:
    """Installed versions of what the numbers depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"python": platform.python_version()} | found


def machine() -> dict[str, str]:
    """Processor, cores, kernel and load of this host."""
    model = ""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "")
    except OSError:
        pass
    return {
        "processor": model or platform.processor(),
        "cores": str(os.cpu_count()),
        "kernel": platform.release(),
        "load": " ".join(f"{x:.2f}" for x in os.getloadavg()),
    }


def commit() -> str:
    """The git commit of this checkout, with -dirty where files differ; empty outside git."""
    here = Path(__file__).resolve().parent
    describe = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(
            [*describe, "--exclude=*"], capture_output=True, text=True, check=False
        )
    except OSError:  # no git on this node
        return ""
    return done.stdout.strip()


def process_started(pid: int) -> str:
    """When a process of this host started, in clock ticks since boot; empty where it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *rest = stat.rpartition(")")[2].split()
    return "" if state in "ZX" else rest[18]  # a zombie is gone, too
