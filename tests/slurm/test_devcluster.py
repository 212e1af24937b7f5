"""Tests of slurm/devcluster: its text, and a cluster of three nodes.

They need root on Debian; MURMURATION_REQUIRE_SLURM=1 turns their skip into a failure.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.launching import DEADLINE_S, wait_until
from tests.slurm.clusters import (
    DOWN,
    NOBODY,
    REFUSED,
    SCRIPT,
    Cluster,
    call,
    devcluster,
    down,
    processes,
    up,
)
from tests.slurm.jobs import CHECKOUT
from tests.slurm.real import skip_or_fail

BRIEF = f"b{os.getpid()}"
"""Name of a second cluster beside the fixture's."""
MESSAGE = 1 << 20

VIEW = f"""
import json, socket, sys
import numpy as np
from mpi4py import MPI
sys.path.insert(0, {str(CHECKOUT)!r})
from bench.session.launch import fence

fence()
world = MPI.COMM_WORLD
mates = world.Split_type(MPI.COMM_TYPE_SHARED)
total = np.zeros({MESSAGE}, np.uint8)
world.Allreduce(np.ones_like(total), total)
views = world.gather((socket.gethostname(), mates.allgather(world.rank), int(total.min())))
if views:
    print(json.dumps(views))
"""


NAMES = ["n1", "n2", "n3"]
SETTINGS = "3 --rate 500mbit --cpus 2"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    if os.geteuid() != 0:
        skip_or_fail("devcluster is for root")
    name = f"t{os.getpid()}"
    try:
        yield up(name, SETTINGS)
    finally:
        down(name)


# The text


def test_the_shell_can_read_it() -> None:
    done = call("bash", "-n", SCRIPT)
    assert (done.returncode, done.stderr) == (0, "")
    assert SCRIPT.stat().st_mode & stat.S_IXUSR


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    done = call("shellcheck", SCRIPT)
    assert done.returncode == 0, done.stdout


def test_help_is_printed() -> None:
    done = devcluster("--help")
    assert (done.returncode, done.stderr) == (0, "")
    without = devcluster("")
    assert (without.returncode, without.stdout, without.stderr) == (REFUSED, "", done.stdout)


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("up 0", "up takes 1 to 250 nodes, got '0'"),
        ("up --rate", "--rate takes a rate like 1gbit, got ''"),
        ("up 2 --cpus many", "--cpus takes a number from 1 to 999, got 'many'"),
        ("status --name New", "--name takes at most 9 letters a-z and digits, got 'New'"),
        ("down --rate 1gbit", "down does not take '--rate': see --help"),
        ("node n2 sideways", "node takes NODE down or NODE up"),
        ("status --name never", "never is down: start it with devcluster up"),
    ],
)
def test_a_mistake_ends_it_with_one_line(line: str, answer: str) -> None:
    done = devcluster(line)
    assert done.returncode == (DOWN if "is down" in answer else REFUSED)
    assert done.stderr == f"error: {answer}\n"
    assert done.stdout == ("false\n" if line.startswith("up") else "")  # for eval "$(...)"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("line", ["up", "node n1 down", "down"])
def test_other_users_are_refused(line: str) -> None:
    with SCRIPT.open() as script:
        done = subprocess.run(
            [*NOBODY, "bash", "-s", *line.split(), "--name", BRIEF],
            stdin=script,
            capture_output=True,
            text=True,
            check=False,
        )
    message = f"error: must run as root: sudo slurm/devcluster {line.partition(' ')[0]}\n"
    assert (done.returncode, done.stderr) == (REFUSED, message)


# Jobs


def test_all_nodes_are_idle(cluster: Cluster) -> None:
    network = cluster.table()["n1"][0].rpartition(".")[0]
    expected = {n: [f"{network}.{i + 1}", "idle", "rate 500Mbit"] for i, n in enumerate(NAMES)}
    assert cluster.table() == expected
    assert cluster.slurm("sinfo", "--noheader", "--Format=Partition,CPUs,Nodes").split() == [
        *("all*", "2", "3"),
        *("urgent", "2", "3"),
    ]


@pytest.mark.parametrize("user", [(), NOBODY], ids=["root", "nobody"])
def test_every_user_gets_a_step_on_every_node(cluster: Cluster, user: Sequence[str]) -> None:
    command = [*user, "srun", "--nodes=3", "--label", "sh", "-c", "uname -n; id -u"]
    answers = sorted(cluster.slurm(*command).splitlines())
    number = "65534" if user else "0"
    assert answers == sorted(f"{i}: {line}" for i, n in enumerate(NAMES) for line in (n, number))


def test_nodes_have_separate_networks_names_and_memory(cluster: Cluster) -> None:
    look = "readlink /proc/self/ns/net /proc/self/ns/uts /proc/self/ns/ipc; stat -c %d /dev/shm"
    here = call("sh", "-c", look).stdout.split()
    remote = cluster.slurm("srun", "--nodes=3", "sh", "-c", look).split()
    assert len({*here, *remote}) == 4 * len(here) == 16


def test_mpi_sees_the_nodes(cluster: Cluster) -> None:
    def bytes_sent() -> int:
        (link,) = json.loads(cluster.on("n3", "-json", "-stats", "link", "show", "eth0"))
        return int(link["stats64"]["tx"]["bytes"])

    before = bytes_sent()
    layout = ["--nodes=3", "--ntasks=4", "--distribution=block"]
    views = json.loads(cluster.slurm("srun", *layout, sys.executable, "-c", VIEW))
    assert sorted(views) == [
        *(["n1", [0, 1], 4] for _ in range(2)),
        ["n2", [2], 4],
        ["n3", [3], 4],
    ]
    assert bytes_sent() - before > MESSAGE // 2


def test_an_urgent_job_requeues_a_running_one(cluster: Cluster) -> None:
    job = cluster.submit("--nodes=3", "--exclusive", "--wrap=exec sleep 600")
    cluster.slurm("srun", "--partition=urgent", "--nodes=3", "true")
    assert cluster.requeued(job)
    cluster.slurm("scancel", job)


def test_a_node_goes_down_and_comes_back(cluster: Cluster) -> None:
    job = cluster.submit("--nodelist=n2,n3", "--wrap=srun sleep 600")
    wait_until(lambda: "StepId" in cluster.slurm("scontrol", "show", "step"), "the step is there")
    assert devcluster(f"node n3 down --name {cluster.name}").returncode == 0
    assert cluster.table()["n3"][2] == "down"
    assert processes(f"{cluster.configuration} -N n3") == []
    # An administrator acts at once; Slurm would notice after half a minute.
    cluster.slurm("scontrol", "update", "nodename=n3", "state=down", "reason=test")
    wait_until(lambda: cluster.requeued(job), "the job waits to start again")
    cluster.slurm("scancel", job)
    assert devcluster(f"node n3 up --name {cluster.name}").returncode == 0
    assert cluster.table()["n3"][1:] == ["idle", "rate 500Mbit"]
    assert cluster.slurm("srun", "--nodelist=n3", "uname", "-n") == "n3\n"


def test_an_unknown_node_is_refused(cluster: Cluster) -> None:
    done = devcluster(f"node n4 down --name {cluster.name}")
    message = "error: there is no node 'n4': see devcluster status\n"
    assert (done.returncode, done.stderr) == (REFUSED, message)


def test_up_again_keeps_the_running_cluster(cluster: Cluster) -> None:
    def controller() -> str:
        return (cluster.folder / "run" / "slurmctld.pid").read_text()

    before = controller()
    assert up(cluster.name, SETTINGS) == cluster
    assert controller() == before


# Removal


def up_twice_at_once(line: str) -> list[int]:
    command = [str(SCRIPT), "up", *line.split(), "--name", BRIEF]
    both = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    return [process.wait(DEADLINE_S) for process in both]


@pytest.mark.usefixtures("cluster")
def test_down_leaves_nothing() -> None:
    def remains() -> list[str]:
        links = {path.name for path in Path("/sys/class/net").glob(f"slurm-{BRIEF}*")}
        spaces = {path.name for path in Path("/run/netns").glob(f"murmuration-slurm-{BRIEF}-*")}
        folders = {path.name for path in Path("/var/lib").glob(f"*{BRIEF}*")}
        return sorted(links | spaces | folders)

    marker = f"600.{os.getpid()}"
    own, switch = f"murmuration-slurm-{BRIEF}", f"murmuration-slurm-{BRIEF}-switch"
    try:
        assert up_twice_at_once("2") == [0, 0]
        brief = up(BRIEF, "1")  # replaces it
        assert list(brief.table()) == ["n1"]
        assert remains() == sorted([own, f"{own}-n1", switch, f"slurm-{BRIEF}"])
        brief.submit("--wrap=srun sleep " + marker)
        wait_until(lambda: bool(processes(f"sleep {marker}")), "the job sleeps")
    finally:
        down(BRIEF)
    assert remains() == []
    assert processes(f"sleep {marker}") == []
    assert processes(own) == []
    assert BRIEF not in Path("/proc/mounts").read_text()


@pytest.mark.usefixtures("cluster")
def test_an_up_that_fails_leaves_nothing() -> None:
    done = devcluster(f"up 2 --rate 5cars --name {BRIEF}")
    assert (done.returncode, done.stdout) == (REFUSED, "false\n")
    assert "error: cannot create a link of 5cars here: " in done.stderr
    assert devcluster(f"status --name {BRIEF}").returncode == DOWN
    assert list(Path("/run/netns").glob(f"*-{BRIEF}-*")) == []
