"""Provenance of a result: hosts, versions, and an allow-list of the environment."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from bench.common.text import counted
from bench.results import contents
from bench.results.environment import machine_of, ranks_by_host
from bench.results.reader import BrokenFileError, Run

PREFIXES = (
    *("OMPI_MCA_", "PRTE_MCA_", "UCX_", "FI_", "NCCL_", "HDF5_", "TORCH_"),
    *("OMP_", "MKL_", "ATEN_", "DNNL_", "ONEDNN_", "OPENBLAS_", "NPY_"),
)
SLURM = re.compile(
    "SLURM_(JOB_(ID|NAME|PARTITION|NODELIST|NUM_NODES)|CLUSTER_NAME|N?TASKS(_PER_NODE)?|CPUS_PER_TASK"
    "|CPU_BIND|STEP_ID|RESTART_COUNT|ARRAY_(JOB|TASK)_ID|MPI_TYPE|DISTRIBUTION)"
)
SECRET = re.compile("KEY|TOKEN|SECRET|PASS|JWT|CRED|AUTH|COOKIE", re.IGNORECASE)
SECRET_VALUE = re.compile(
    r"""\b(gh[a-z]_|github_pat_|gl[a-z]+-|hf_|npm_|pypi-|dop_v1_|sk-|[sr]k_live_|xox[a-z]-|AIza)
        [\w-]{12}                                     # tokens of hosts of code, models and mail
    |\b(AKIA|ASIA)[A-Z0-9]{12}                        # access keys of AWS
    |\beyJ[\w-]{6,}\.[\w-]+                          # JSON web tokens
    |-----BEGIN\ [A-Z ]*PRIVATE\ KEY
    |\bssh-(rsa|ed25519)\b
    |://[^/\s@]*:[^/\s@]+@                            # passwords in URLs
    |\b(Bearer|Basic)\s+\S{8}
    |(key|token|secret|passw(or)?d|pwd|sig(nature)?|jwt|auth)\w*\s*[=:]\s*\S
    """,
    re.VERBOSE,
)
"""Value that looks like a secret under any name."""
RANDOM_TEXT = re.compile(
    r"(?<![\w+/.-])(?=[\w+=-]*[A-Z])(?=[\w+=-]*[a-z])(?=[\w+=-]*[0-9])[\w+=-]{32,}(?![\w+/.-])"
)
"""Value of an environment variable that may be a secret; on command lines, names look like it."""
LEFT_OUT = "<secret>"
PACKAGES = ("murmuration", "torch", "numpy", "mpi4py", "openmpi", "mpich", "h5py", "scikit-learn")


CHECKOUT = Path(__file__).resolve().parents[2]
"""Root of the checkout, or of the installed packages."""


def environment(variables: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment variables of MPI, Slurm and threads on an allow-list."""
    return {
        key: value
        for key, value in sorted(variables.items())
        if (SLURM.fullmatch(key) or key.startswith(PREFIXES))
        and not SECRET.search(key)
        and not SECRET_VALUE.search(value)
        and not RANDOM_TEXT.search(value)
        and not key.endswith("_env_list")  # mpirun -x: names and values of other variables
    }


def without_secrets(words: Sequence[str]) -> list[str]:
    """Return a command line whose secrets, as of a script of the user's own, read `<secret>`."""
    result: list[str] = []
    for before, word in pairwise(["", *words]):
        option, equals, _ = word.partition("=")
        if option.startswith("-") and equals and SECRET.search(option):
            result.append(f"{option}={LEFT_OUT}")
        elif (_names_a_secret(before) and not word.startswith("-")) or SECRET_VALUE.search(word):
            result.append(LEFT_OUT)
        else:
            result.append(word)
    return result


def _names_a_secret(word: str) -> bool:
    """Return True for an option such as `--api-key`, whose value is the next word."""
    return word.startswith("-") and "=" not in word and bool(SECRET.search(word))


def packages() -> dict[str, str]:
    """Return the installed versions of the packages that affect results."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {"python": platform.python_version()} | versions


def machine() -> dict[str, str]:
    """Return the processor, cores, kernel and load of this host."""
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


def commit(checkout: Path = CHECKOUT) -> str:
    """Return the git commit of a checkout, with -dirty for local changes.

    Without a commit: `not known` and the reason. git refuses a checkout of another owner, such as a
    bind mount in a container, unless it is declared safe. Its code runs here anyway; repositories
    in parent folders stay refused.
    """
    trust = ["git", "-c", f"safe.directory={checkout}", "-C", str(checkout)]
    describe = ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        result = subprocess.run([*trust, *describe], capture_output=True, text=True, check=False)
    except OSError:
        return "not known: git is not installed"
    if not result.returncode:
        return result.stdout.strip()
    reason = next(iter(result.stderr.splitlines()), "").removeprefix("fatal: ")
    owner = "dubious ownership" in reason
    return f"not known: {'git refuses a checkout of another owner' if owner else reason}"


T = TypeVar("T")


def read_origin(path: Path, attributes: Mapping[str, Any]) -> Run:
    """Read the hosts and texts of a result into a Run without numbers.

    Errors: BrokenFileError.
    """
    with contents.open_hdf5(path) as file:
        ranks = {x: f"provenance/ranks/{x}" for x in ("host", "cpu_mask", "instructions")}
        return Run(
            path=path,
            attributes=dict(attributes),
            train={},
            evals={},
            partition={},
            workers={},
            ranks={
                name: contents.column(file, place)
                for name, place in ranks.items()
                if contents.has(file, place)
            },
            texts=contents.texts(file, "provenance/text"),
        )


def derive_from(path: Path, derive: Callable[[], T]) -> T:
    """Return the result of `derive`, with errors attributed to the file.

    Errors: BrokenFileError if something is missing or the parts do not fit together.
    """
    try:
        return derive()
    except KeyError as error:
        raise BrokenFileError(f"{path}: {error.args[0]} is missing") from None
    except (
        ValueError,
        TypeError,
        IndexError,
        AttributeError,
        ArithmeticError,
        RuntimeError,
        MemoryError,
    ) as error:
        text = " ".join(str(error).split())
        raise BrokenFileError(f"{path}: the parts do not fit together: {text}") from None


ALONE = ("bench.simulate", "bench.chaos")
"""Programs that start without mpirun."""
SHARED_PROCESSES = "shared with an earlier launch"
"""Text in the provenance of a launch that did not start in fresh processes."""


def provenance(run: Run) -> dict[str, str]:
    """Return the provenance of a result as texts by label."""
    attributes, texts = run.attributes, run.texts
    argv = [str(x) for x in json.loads(attributes.get("argv_json", "[]"))]
    program = str(attributes.get("program", "bench.train"))
    launcher = [] if program in ALONE else ["mpirun", "-n", str(attributes["ranks"])]
    command = [*launcher, "python", "-m", program, *argv]
    labels = {
        "status": " - ".join(filter(None, (run.status, str(attributes.get("reason", ""))))),
        "command": shlex.join(command),
        "started": str(attributes.get("created_utc", "")),
        "ended": str(attributes.get("closed_utc", "")),
        "processes": "" if attributes.get("launch", 1) == 1 else SHARED_PROCESSES,
        "hosts": ", ".join(
            f"{name} ({counted(n, 'rank')})" for name, n in ranks_by_host(run.ranks).items()
        ),
        "machine": _pairs(machine_of(run.texts)),
        "MPI": texts.get("mpi_library", ""),
        "packages": _pairs(json.loads(texts.get("packages", "{}"))),
        "git commit": texts.get("git_commit", ""),
        "binding": str(attributes.get("binding_flaws", "")),
        "shards": _shards(run),
        "parameters": str(attributes.get("parameters_sha256", "")),
        "file": str(run.path),
    }
    return {key: text for key, text in labels.items() if text}


def _shards(run: Run) -> str:
    label = {"label_js": "Jensen-Shannon divergence", "label_tv_max": "largest total variation"}
    skew = [f"{text} {run.attributes[x]:.3g}" for x, text in label.items() if x in run.attributes]
    sizes = run.partition.get("size")
    if sizes is not None and len(sizes):
        text = f"{sizes.min()} to {sizes.max()} samples, median {np.median(sizes):g}"
        skew.insert(0, text)
    return "; ".join(skew)


def _pairs(table: dict[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in table.items())


def program_of(path: Path) -> str:
    """Return the program that wrote a file; bench.train if the file does not name one."""
    try:
        with contents.open_hdf5(path) as file:
            return str(contents.attributes(file, ["program"]).get("program", "bench.train"))
    except BrokenFileError:
        return "bench.train"
