"""Limits of memory and cores of this process: those of the host, of its cgroups, and of ulimit."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.common.text import format_bytes, printable

ROOT = Path("/")
"""Root of /proc and /sys; another one in tests."""
HOST = "the host"
UNLIMITED = 2**60
"""Values of a cgroup above this are no limit: version 1 writes 2^63 rounded to pages."""
VERSION_1 = {
    "memory": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    "cpu": ("cpu.cfs_quota_us", "cpu.cfs_period_us"),
}


@dataclass(frozen=True)
class Pool:
    """Memory that processes of one host share, or that belongs to one process."""

    name: str
    """The host, a cgroup with its path, or the option of ulimit."""
    available: int
    """Bytes."""
    private: bool = False
    """True if the pool belongs to this process."""


@dataclass(frozen=True)
class Quota:
    """Processor time of one cgroup, as a number of cores."""

    name: str
    """Path of the cgroup."""
    cores: float


@dataclass(frozen=True)
class Use:
    """Pool of one host, or of one rank, and the ranks that allocate in it."""

    host: str
    pool: Pool
    ranks: tuple[int, ...]

    def __str__(self) -> str:
        """Return the place and what it has: `on HOST, which has 1 GB available`."""
        free = format_bytes(self.pool.available)
        if self.pool.name == HOST:
            return f"on {self.host}, which has {free} available"
        return f"on {self.host}, where {self.pool.name} leaves {free}"


def uses(places: Sequence[tuple[str, Sequence[Pool]]]) -> list[Use]:
    """Return the pools of all ranks; places: host and pools of each rank."""
    by_pool: dict[tuple[str, str, int], Use] = {}
    for rank, (host, pools) in enumerate(places):
        for pool in pools:
            key = (host, pool.name, rank if pool.private else -1)
            before = by_pool.get(key, Use(host, pool, ()))
            least = min(before.pool, pool, key=lambda x: x.available)
            by_pool[key] = Use(host, least, (*before.ranks, rank))
    return list(by_pool.values())


def memory_pools(root: Path = ROOT) -> list[Pool]:
    """Return all pools in which this process allocates: it may fill the smallest one."""
    pools = []
    with suppress(OSError):
        available = available_bytes((root / "proc/meminfo").read_text())
        if available is not None:
            pools.append(Pool(HOST, available))
    for folder, name in cgroups("memory", root):
        free = _free(folder)
        if free is not None:
            pools.append(Pool(f"cgroup {name}", free))
    return pools + _own_limits(root)


def available_bytes(meminfo: str) -> int | None:
    """Return MemAvailable from the text of /proc/meminfo; None if it is absent."""
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def cpu_quotas(root: Path = ROOT) -> list[Quota]:
    """Return the quota of every cgroup of this process that has one."""
    quotas = []
    for folder, name in cgroups("cpu", root):
        if (folder / "cpu.max").exists():
            quota, period = ((_text(folder / "cpu.max") or "max") + " 100000").split()[:2]
        else:
            quota, period = (_text(folder / file) or "-1" for file in VERSION_1["cpu"])
        with suppress(ValueError):  # "max"
            if int(quota) > 0 and int(period) > 0:
                quotas.append(Quota(name, int(quota) / int(period)))
    return quotas


def usable_cores(root: Path = ROOT) -> int:
    """Return the number of cores this process can keep busy, at least 1."""
    cores: float = len(os.sched_getaffinity(0))
    return max(1, int(min([cores, *(quota.cores for quota in cpu_quotas(root))])))


def cgroups(controller: str, root: Path = ROOT) -> Iterator[tuple[Path, str]]:
    """Yield folder and path of the cgroups of this process, from its own up to the root.

    controller: `memory` or `cpu`. Version 1 has a hierarchy per controller, version 2 one for all.
    """
    memberships = [line.split(":", 2) for line in _text(root / "proc/self/cgroup").splitlines()]
    for line in _text(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = [*after.split(" ", 2), "", ""][:3]
        if kind not in ("cgroup", "cgroup2"):
            continue
        if kind == "cgroup" and controller not in options.split(","):
            continue
        top, mount = (x.replace("\\040", " ") for x in before.split()[3:5])
        path = next(
            (
                path
                for _, controllers, path in memberships
                if (controller in controllers.split(",") if kind == "cgroup" else not controllers)
            ),
            None,
        )
        if path is None:
            continue
        # In a container the mount is its own cgroup, and the path may be that of the host.
        within = f"{path}/".startswith(f"{top.rstrip('/')}/")
        inside = os.path.relpath(path, top) if within else "."
        base = root / mount.lstrip("/")
        folder = base / inside
        while True:
            name = "/" if folder == base else f"/{folder.relative_to(base)}"
            yield folder, printable(name)
            if folder == base:
                break
            folder = folder.parent


def _free(folder: Path) -> int | None:
    """Return the bytes below the limit of a cgroup; None without a limit.

    Pages of files that the kernel can drop count as free, as in MemAvailable.
    """
    if (folder / "memory.current").exists():
        limits = [_text(folder / name) for name in ("memory.max", "memory.high")]
        used, droppable = _text(folder / "memory.current"), "inactive_file"
    else:
        limit, usage, droppable = VERSION_1["memory"]
        limits, used = [_text(folder / limit)], _text(folder / usage)
    bounds = [int(x) for x in limits if x.isdigit() and int(x) < UNLIMITED]
    if not bounds or not used.isdigit():
        return None
    stat = dict(
        line.split()[:2] for line in _text(folder / "memory.stat").splitlines() if " " in line
    )
    return max(0, min(bounds) - max(0, int(used) - int(stat.get(droppable, 0))))


def _own_limits(root: Path) -> list[Pool]:
    """Return what `ulimit -v` and `ulimit -d` leave to this process."""
    status = dict(
        line.split(":", 1) for line in _text(root / "proc/self/status").splitlines() if ":" in line
    )
    pools = []
    for option, which, field in (
        ("ulimit -v", resource.RLIMIT_AS, "VmSize"),
        ("ulimit -d", resource.RLIMIT_DATA, "VmData"),
    ):
        bound = resource.getrlimit(which)[0]
        used = status.get(field, "0 kB").split()[0]
        if bound != resource.RLIM_INFINITY and used.isdigit():
            pools.append(Pool(option, max(0, bound - int(used) * 1024), private=True))
    return pools


def _text(path: Path) -> str:
    """Return the text of a file of the kernel; empty if it cannot be read."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""
