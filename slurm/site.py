"""Site: the properties of one machine, read from a TOML file found by cluster or host name."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from bench.common.files import read_toml
from bench.common.spec import UserError, expand_path, unknown_name

SLURM, NONE = "slurm", "none"
SRUN, MPIRUN = "srun", "mpirun"
SITES = Path(__file__).parent / "sites"
LOCAL = "local"
MAX_ARRAY_SIZE = 1001
"""Slurm's default MaxArraySize."""
TIMEOUT_S = 10
"""Maximum time for the answer of scontrol."""

CHOICES = {"scheduler": (SLURM, NONE), "launcher": (SRUN, MPIRUN)}
WORD = r"[A-Za-z0-9_][A-Za-z0-9_.,:/@+=-]*"
PATTERNS = {
    "mpi": r"[A-Za-z0-9_]+",
    "partition": WORD,
    "account": WORD,
    "qos": WORD,
    "constraint": r"[A-Za-z0-9_(\[][A-Za-z0-9_.,:&|*()\[\]-]*",
    "reservation": WORD,
    "gres": WORD,
    "mem": r"[0-9]+[KMGTkmgt]?",
    "mem_per_cpu": r"[0-9]+[KMGTkmgt]?",
    "exclude": r"[A-Za-z0-9_][A-Za-z0-9_.,\[\]-]*",
    "modules": WORD,
}
"""Patterns of values that are copied into batch scripts."""
VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"


@dataclass(frozen=True)
class Site:
    """Properties of one machine; the fields are the keys of its file."""

    name: str
    scheduler: str = SLURM
    """`slurm`, or `none`: cases run on this machine, one after the other, by mpirun."""
    launcher: str = SRUN
    mpi: str = "pmix"
    """Value of srun --mpi."""
    hosts: tuple[str, ...] = ()
    """Patterns of the host names of this site."""
    cluster: str = ""
    """ClusterName of this site in Slurm."""
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    reservation: str = ""
    gres: str = ""
    """Generic resources of a node, such as `gpu:2`."""
    mem: str = ""
    """Memory of a node: `64G`; `0` for all of it."""
    mem_per_cpu: str = ""
    """Memory of a core: `2G`."""
    exclude: str = ""
    """Nodes that no job gets: `n[3-5],n9`."""
    directives: tuple[str, ...] = ()
    """Further options of sbatch, one `#SBATCH` line each: `--switches=1`."""
    exclusive: bool = False
    """True if a job gets its nodes exclusively."""
    cores: int = 0
    """Cores of a node; with 0, unknown, a sweep must set ranks_per_node."""
    at_once: int = 8
    """Maximum number of elements of an array that run at the same time."""
    max_array_size: int = 0
    """MaxArraySize of Slurm; 0: as `scontrol show config` says."""
    modules: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    """Environment variables of a job, without expansion."""
    scratch: str = ""
    """Parent of the results folder without --out; its variables are expanded."""
    python: str = ""
    """Interpreter of the jobs; empty for .venv/bin/python of the checkout. Its variables are
    expanded."""

    def __post_init__(self) -> None:
        for option, choices in CHOICES.items():
            if getattr(self, option) not in choices:
                raise unknown_name(f"{option} of site {self.name}", getattr(self, option), choices)
        if self.scheduler == NONE and self.launcher != MPIRUN:
            raise UserError(
                f'site {self.name}: without a scheduler there is no srun: set launcher = "mpirun"'
            )
        for option, least in (("cores", 0), ("at_once", 1), ("max_array_size", 0)):
            value = getattr(self, option)
            if value < least:
                raise UserError(f"site {self.name}: {option} must be >= {least}, got {value}")
        for option, pattern in PATTERNS.items():
            setting = getattr(self, option)
            for text in setting if isinstance(setting, tuple) else filter(None, [setting]):
                if not re.fullmatch(pattern, text, re.ASCII):
                    raise UserError(
                        f"site {self.name}: {option} must match {pattern}, got {text!r}"
                    )
        if self.mem and self.mem_per_cpu:
            raise UserError(
                f"site {self.name}: mem {self.mem} and mem_per_cpu {self.mem_per_cpu} exclude each "
                "other: keep one"
            )
        for line in self.directives:
            _check_directive(self.name, line)
        for name, value in self.environment.items():
            if not re.fullmatch(VARIABLE, name, re.ASCII):
                raise UserError(
                    f"site {self.name}: a variable of the environment must match {VARIABLE}, "
                    f"got {name!r}"
                )
            _plain(self.name, f"environment.{name}", value)
        _plain(self.name, "python", self.python)

    @property
    def interpreter(self) -> str:
        """Path of the interpreter; empty for that of the checkout. Errors: UserError."""
        return expand_path(self.python, f"site {self.name}: python")


def names() -> list[str]:
    """Return the names of all sites in slurm/sites."""
    return sorted(path.stem for path in SITES.glob("*.toml"))


def load(name: str) -> Site:
    """Return the site of a name in slurm/sites, or of the path of a TOML file.

    Errors: UserError for an unknown name or key, and for invalid values.
    """
    path = Path(name) if name.endswith(".toml") else SITES / f"{name}.toml"
    if path.parent == SITES and path.stem not in names():
        raise unknown_name("site", name, [*names(), "the path of a .toml file"])
    return _site(path)


def find(environment: Mapping[str, str]) -> Site:
    """Return the site of this machine: by Slurm's cluster, then by host name, else `local`.

    Errors: UserError on a cluster without a site: there, mpirun would use the login node.
    """
    sites = [load(name) for name in names()]
    cluster = environment.get("SLURM_CLUSTER_NAME") or cluster_name(environment)
    host = socket.gethostname()
    for site in sites:
        if cluster and site.cluster == cluster:
            return site
    for site in sites:
        if any(fnmatchcase(host, pattern) for pattern in site.hosts):
            return site
    if cluster:
        raise UserError(
            f"the cluster {cluster!r} has no site: give --site NAME, or add a file with "
            f'cluster = "{cluster}" to slurm/sites/, as example.toml shows'
        )
    return load(LOCAL)


def cluster_name(environment: Mapping[str, str]) -> str:
    """Return the ClusterName of scontrol; empty without scontrol or without an answer."""
    return configuration("ClusterName", environment)


def array_size(site: Site, environment: Mapping[str, str] = os.environ) -> int:
    """Return MaxArraySize, above every index of a job array: of the site's file, or of scontrol.

    Without either, it is the default of Slurm.
    """
    text = "" if site.scheduler == NONE else configuration("MaxArraySize", environment)
    return site.max_array_size or (int(text) if text.isdecimal() else 0) or MAX_ARRAY_SIZE


def answer(
    command: Sequence[str], environment: Mapping[str, str], timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run a command of Slurm without input. Errors: OSError, subprocess.TimeoutExpired."""
    return subprocess.run(
        command,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=timeout_s,
        check=False,
    )


def configuration(key: str, environment: Mapping[str, str]) -> str:
    """Return a value of `scontrol show config`; empty without scontrol or without an answer."""
    command = shutil.which("scontrol", path=environment.get("PATH"))
    if not command:
        return ""
    try:
        done = answer([command, "show", "config"], environment, TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(rf"^{key}\s*=\s*(\S+)", done.stdout, re.MULTILINE)
    return match[1] if match and not done.returncode else ""


def _site(path: Path) -> Site:
    table = read_toml(path, "site ")
    kinds = {x.name: type(x.default) for x in fields(Site) if x.name != "name"}
    kinds["environment"] = dict
    values = {}
    for key, value in table.items():
        if key not in kinds:
            raise unknown_name(f"key in site {path}", key, kinds)
        values[key] = _typed(value, kinds[key], f"site {path}: {key}")
    return Site(name=path.stem, **values)


def _typed(value: Any, kind: type, where: str) -> Any:
    """Return a value of a site's file in the type of its field. Errors: UserError."""
    if kind is tuple and isinstance(value, list) and all(isinstance(x, str) for x in value):
        return tuple(value)
    if kind is dict and isinstance(value, dict) and all(isinstance(x, str) for x in value.values()):
        return value
    if kind in (str, int, bool) and type(value) is kind:
        return value
    rules = {str: "a string", int: "an integer", bool: "true or false", tuple: "a list of strings"}
    raise UserError(f"{where} must be {rules.get(kind, 'a table of strings')}, got {value!r}")


SBATCH = "#SBATCH "
"""Prefix of a directive, which a site's file may leave out."""
OURS = (
    *("array", "chdir", "output", "error", "job-name", "nodes", "ntasks", "ntasks-per-node"),
    *("cpus-per-task", "time", "signal", "requeue", "no-requeue", "open-mode", "wrap", "wait"),
    *("dependency", "kill-on-invalid-dep", "parsable", "test-only"),
)
"""Options of sbatch that slurm.submit sets or reads itself."""
LETTERS = {
    **{"a": "array", "D": "chdir", "o": "output", "e": "error", "J": "job-name", "N": "nodes"},
    **{"n": "ntasks", "c": "cpus-per-task", "t": "time", "W": "wait", "d": "dependency"},
    **{"p": "partition", "A": "account", "q": "qos", "C": "constraint", "x": "exclude"},
}
"""Letters of the options of sbatch that a directive must not set."""
CHOSEN = (
    *("partition", "account", "qos", "constraint", "reservation", "gres", "mem", "mem_per_cpu"),
    "exclude",
)
"""Keys that become options of sbatch of the same name."""


def _check_directive(site: str, line: str) -> None:
    """Check an option of sbatch, which becomes a comment of the script. Errors: UserError."""
    where = f"site {site}: directives"
    _plain(site, "directives", line)
    match = re.match(r"--([a-z][a-z-]*)(?:[= ]|$)|-([A-Za-z])", line.removeprefix(SBATCH))
    if not match:
        raise UserError(f"{where} must be options of sbatch, such as '--switches=1', got {line!r}")
    name = match[1] or LETTERS.get(match[2], match[2])
    if name in OURS:
        raise UserError(f"{where}: slurm.submit sets --{name} itself, got {line!r}: take it out")
    key = name.replace("-", "_")
    if key in (*CHOSEN, "exclusive"):
        raise UserError(f"{where}: {line!r} has a key of its own: write {key} = ...")


def _plain(name: str, key: str, text: str) -> None:
    if not text.isprintable():
        raise UserError(f"site {name}: {key} must be one printable line, got {text!r}")


CHECKOUT = Path(__file__).resolve().parent.parent
"""Root of the checkout, the working directory of jobs."""
