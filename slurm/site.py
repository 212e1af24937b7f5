"""Site: the properties of one machine, read from a TOML file found by cluster or host name."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Mapping
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
    exclusive: bool = False
    """True if a job gets its nodes exclusively."""
    cores: int = 0
    """Cores of a node; with 0, unknown, a sweep must set ranks_per_node."""
    at_once: int = 8
    """Maximum number of elements of an array that run at the same time."""
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
        for option, least in (("cores", 0), ("at_once", 1)):
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
    command = shutil.which("scontrol", path=environment.get("PATH"))
    if not command:
        return ""
    try:
        done = subprocess.run(
            [command, "show", "config"],
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    match = re.search(r"^ClusterName\s*=\s*(\S+)", done.stdout, re.MULTILINE)
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


def _plain(name: str, key: str, text: str) -> None:
    if not text.isprintable():
        raise UserError(f"site {name}: {key} must be one printable line, got {text!r}")


CHECKOUT = Path(__file__).resolve().parent.parent
"""Root of the checkout, the working directory of jobs."""
