"""Limits of memory and cores, and the memory check of a run before it allocates."""

import resource
from pathlib import Path

import pytest

from bench.common.limits import HOST, Pool, Quota, cgroups, cpu_quotas, memory_pools, uses
from bench.runtime.memory import overloaded
from bench.tasks.synthetic import Synthetic

MEBI = 2**20


def machine(root: Path, files: dict[str, str]) -> Path:
    """Write files of /proc and /sys below a root and return it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:  10240 kB\n"}
VERSION_2 = MEMINFO | {
    "proc/self/cgroup": "0::/slurm/job_7/step_0\n",
    "proc/self/mountinfo": "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n",
    "sys/fs/cgroup/slurm/job_7/step_0/memory.current": "100\n",
    "sys/fs/cgroup/slurm/job_7/step_0/memory.max": "max\n",
    "sys/fs/cgroup/slurm/job_7/step_0/cpu.max": "max 100000\n",
    "sys/fs/cgroup/slurm/job_7/memory.current": f"{3 * MEBI}\n",
    "sys/fs/cgroup/slurm/job_7/memory.max": f"{4 * MEBI}\n",
    "sys/fs/cgroup/slurm/job_7/memory.stat": f"anon 5\ninactive_file {MEBI}\n",
    "sys/fs/cgroup/slurm/job_7/cpu.max": "150000 100000\n",
    "sys/fs/cgroup/slurm/memory.current": "0\n",
    "sys/fs/cgroup/slurm/memory.max": f"{8 * MEBI}\n",
    "sys/fs/cgroup/slurm/memory.high": f"{6 * MEBI}\n",
}
VERSION_1 = MEMINFO | {
    "proc/self/cgroup": "4:memory:/docker/af/x\n2:cpu,cpuacct:/docker/af\n0::/\n",
    "proc/self/mountinfo": "35 31 0:32 /docker/af /sys/fs/cgroup/memory rw - cgroup cg rw,memory\n"
    "36 31 0:33 /docker/af /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n",
    "sys/fs/cgroup/memory/x/memory.limit_in_bytes": f"{5 * MEBI}\n",
    "sys/fs/cgroup/memory/x/memory.usage_in_bytes": f"{2 * MEBI}\n",
    "sys/fs/cgroup/memory/x/memory.stat": f"total_inactive_file {MEBI}\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": "7\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
}


def test_cgroups_of_version_2_limit_up_to_the_root(tmp_path: Path) -> None:
    root = machine(tmp_path, VERSION_2)
    assert memory_pools(root) == [
        Pool(HOST, 10 * MEBI),
        Pool("cgroup /slurm/job_7", 2 * MEBI),
        Pool("cgroup /slurm", 6 * MEBI),
    ]
    assert cpu_quotas(root) == [Quota("/slurm/job_7", 1.5)]
    names = [name for _, name in cgroups("memory", root)]
    assert names == ["/slurm/job_7/step_0", "/slurm/job_7", "/slurm", "/"]


def test_cgroups_of_version_1_limit_inside_a_container(tmp_path: Path) -> None:
    root = machine(tmp_path, VERSION_1)
    assert memory_pools(root) == [Pool(HOST, 10 * MEBI), Pool("cgroup /x", 4 * MEBI)]
    assert cpu_quotas(root) == [Quota("/", 0.5)]


def test_a_machine_without_limits_has_none(tmp_path: Path) -> None:
    assert memory_pools(tmp_path) == []
    assert cpu_quotas(tmp_path) == []


def test_ulimit_belongs_to_each_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = {resource.RLIMIT_AS: 3 * MEBI, resource.RLIMIT_DATA: resource.RLIM_INFINITY}
    monkeypatch.setattr(resource, "getrlimit", lambda which: (limits[which], -1))
    root = machine(tmp_path, {"proc/self/status": "Name: x\nVmSize:\t 1024 kB\n"})
    pools = memory_pools(root)
    assert pools == [Pool("ulimit -v", 2 * MEBI, private=True)]
    assert [use.ranks for use in uses([("a", pools), ("a", pools)])] == [(0,), (1,)]


def test_ranks_of_a_host_share_its_memory() -> None:
    ranks = [
        (host, [Pool(HOST, free)], needed)
        for host, needed, free in (("a", 40, 100), ("a", 40, 90), ("b", 60, 100), ("b", 60, 101))
    ]
    lack = overloaded(ranks)
    assert lack is not None
    assert str(lack[0]) == "on b, which has 100 B available"
    assert lack[1] == 120
    assert overloaded(ranks[:2]) is None
    assert overloaded([("c", [], 10**30)]) is None, "unknown memory refuses nothing"


def test_ranks_of_a_cgroup_share_its_memory_and_not_that_of_a_process() -> None:
    pools = [Pool(HOST, 1000), Pool("cgroup /job", 100), Pool("ulimit -v", 70, private=True)]
    assert overloaded([("a", pools, 50), ("a", pools, 50)]) is None
    lack = overloaded([("a", pools, 60), ("a", pools, 60)])
    assert lack is not None
    assert str(lack[0]) == "on a, where cgroup /job leaves 100 B"
    assert lack[1] == 120
    lack = overloaded([("a", pools, 80), ("a", pools, 0)])
    assert lack is not None
    assert (lack[0].pool.name, lack[0].ranks) == ("ulimit -v", (0,))


def test_features_are_divided_among_the_ranks() -> None:
    task = Synthetic(samples=1000, features=10)
    assert task.nbytes(0.25, "float64") == 1000 * (3 * 8 + 20)
    assert task.nbytes(1.0, "float32") == 1000 * (3 * 8 + 40)
