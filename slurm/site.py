"""Where jobs run: a site's few lines of TOML, found by host or cluster name."""

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

from bench.common import toml
from bench.common.spec import UserError, unknown_name

SLURM, NONE = "slurm", "none"
SRUN, MPIRUN = "srun", "mpirun"
SITES = Path(__file__).parent / "sites"
LOCAL = "local"
PATIENCE_S = 10
"""For scontrol's answer."""

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
"""What stands in a batch script as it is; Slurm reads its lines by rules of its own."""
VARIABLE = r"[A-Za-z_][A-Za-z0-9_]*"


@dataclass(frozen=True)
class Site:
    """What is particular to one machine; the fields are the keys of its file."""

    name: str
    scheduler: str = SLURM
    """`slurm`, or `none`: cases run here, one after the other, by mpirun."""
    launcher: str = SRUN
    mpi: str = "pmix"
    """Of srun --mpi."""
    hosts: tuple[str, ...] = ()
    """Patterns of host names that are this site."""
    cluster: str = ""
    """Slurm's ClusterName that is this site."""
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    exclusive: bool = False
    """Whether a job has its nodes to itself."""
    cores: int = 0
    """Of a node; 0: not known, then a sweep must say ranks_per_node."""
    at_once: int = 8
    """Elements of an array that run at the same time, at most."""
    modules: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    """Variables of a job, as they are: nothing in them is filled in."""
    scratch: str = ""
    """Folder of the results where --out is not given; variables in it are filled in."""
    python: str = ""
    """The interpreter; empty: .venv/bin/python of the checkout."""

    def __post_init__(self) -> None:
        for option, known in CHOICES.items():
            if getattr(self, option) not in known:
                raise unknown_name(f"{option} of site {self.name}", getattr(self, option), known)
        if self.scheduler == NONE and self.launcher != MPIRUN:
            raise UserError(
                f'site {self.name}: without a scheduler there is no srun: say launcher = "mpirun"'
            )
        for option, least in (("cores", 0), ("at_once", 1)):
            value = getattr(self, option)
            if value < least:
                raise UserError(f"site {self.name}: {option} must be >= {least}, got {value}")
        for option, pattern in PATTERNS.items():
            given = getattr(self, option)
            for text in given if isinstance(given, tuple) else filter(None, [given]):
                if not re.fullmatch(pattern, text, re.ASCII):
                    raise UserError(
                        f"site {self.name}: {option} must be like {pattern}, got {text!r}"
                    )
        for name, value in self.environment.items():
            if not re.fullmatch(VARIABLE, name, re.ASCII):
                raise UserError(
                    f"site {self.name}: a variable of the environment must be like {VARIABLE}, "
                    f"got {name!r}"
                )
            _plain(self.name, f"environment.{name}", value)
        _plain(self.name, "python", self.python)


def names() -> list[str]:
    """The sites that come with the suite, and those put beside them."""
    return sorted(path.stem for path in SITES.glob("*.toml"))


def load(name: str) -> Site:
    """The site of that name, or that a TOML file describes.

    Errors: UserError for an unknown name or key, and values that do not do.
    """
    path = Path(name) if name.endswith(".toml") else SITES / f"{name}.toml"
    if path.parent == SITES and path.stem not in names():
        raise unknown_name("site", name, [*names(), "the path of a .toml file"])
    return _site(path)


def find(environment: Mapping[str, str]) -> Site:
    """The site that this machine is: by Slurm's cluster, then by host name, else `local`.

    Errors: UserError on a cluster that no site is: by mpirun all would run on its login node.
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
            f"no site is the cluster {cluster!r}: give --site NAME, or write a file "
            f'into slurm/sites/ that says cluster = "{cluster}", as example.toml does'
        )
    return load(LOCAL)


def cluster_name(environment: Mapping[str, str]) -> str:
    """The ClusterName that scontrol tells; empty where there is none or it does not answer."""
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
            timeout=PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.search(r"^ClusterName\s*=\s*(\S+)", done.stdout, re.MULTILINE)
    return found[1] if found and not done.returncode else ""


def _site(path: Path) -> Site:
    table = toml.load(path, "site ")
    kinds = {x.name: type(x.default) for x in fields(Site) if x.name != "name"}
    kinds["environment"] = dict
    values = {}
    for key, value in table.items():
        if key not in kinds:
            raise unknown_name(f"key in site {path}", key, kinds)
        values[key] = _typed(value, kinds[key], f"site {path}: {key}")
    return Site(name=path.stem, **values)


def _typed(value: Any, kind: type, where: str) -> Any:
    """A value of a site's file as its field has it. Errors: UserError."""
    if kind is tuple and isinstance(value, list) and all(isinstance(x, str) for x in value):
        return tuple(value)
    if kind is dict and isinstance(value, dict) and all(isinstance(x, str) for x in value.values()):
        return value
    if kind in (str, int, bool) and type(value) is kind:
        return value
    rules = {str: "a text", int: "a whole number", bool: "true or false", tuple: "a list of texts"}
    raise UserError(f"{where} must be {rules.get(kind, 'a table of texts')}, got {value!r}")


def _plain(name: str, key: str, text: str) -> None:
    if not text.isprintable():
        raise UserError(f"site {name}: {key} must be one line of text, got {text!r}")


CHECKOUT = Path(__file__).resolve().parent.parent
"""Where jobs start."""
