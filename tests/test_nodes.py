"""Tests of tests/nodes: MPI treats the nodes as separate machines, and `down` removes everything.

They need root on Linux and iproute2; without them they are skipped, or fail with
MURMURATION_REQUIRE_NODES=1.
"""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.launching import wait_until
from tests.nodes import REFUSED, SCRIPT, Nodes, call, nodes

RATE_BIT_S = 200_000_000
"""Rate of the links between the nodes of the fixture."""
MESSAGE = 1 << 24
"""Size of a message in bytes."""
DOWN = 3
"""Exit code of `nodes status` for nodes that are down."""
BRIEF = ("--name", "brief")
"""Option that names a second set of nodes, separate from the fixture."""

VIEW = """
import json, os, socket
from mpi4py import MPI

world = MPI.COMM_WORLD
neighbours = world.Split_type(MPI.COMM_TYPE_SHARED)
world.allreduce(1)
neighbours.allreduce(1)
with open("/proc/self/maps") as maps:
    segments = {line.rpartition("/")[2].strip() for line in maps if "/sm_segment." in line}
view = {
    "neighbours": neighbours.allgather(world.rank),
    "hosts": [socket.gethostname(), MPI.Get_processor_name(), os.uname().nodename],
    "segments": sorted(segments),
    "spaces": [os.readlink(f"/proc/self/ns/{kind}") for kind in ("net", "uts", "ipc", "mnt")],
    "folder": os.getcwd(),
    "environment": dict(os.environ),
}
views = world.gather(view)
if views:
    print(json.dumps(views))
"""

EXCHANGE = """
import sys
import numpy as np
from mpi4py import MPI

world = MPI.COMM_WORLD
source = np.zeros(int(sys.argv[1]), np.uint8)
target = np.empty_like(source)
other = world.size - 1 - world.rank
for _ in range(2):  # the first round opens the connections
    world.Barrier()
    world.Sendrecv(source, other, 0, target, other, 0)
"""

SLEEP = """
import pathlib, sys, time
from mpi4py import MPI

pathlib.Path(sys.argv[1], str(MPI.COMM_WORLD.rank)).touch()
time.sleep(600)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    with nodes(3, rate=f"{RATE_BIT_S // 1_000_000}mbit") as up:
        yield up


def views(cluster: Nodes, *layout: int, **environment: str) -> list[dict[str, Any]]:
    """Return the hosts, namespaces and environment of each rank."""
    result = cluster.run(layout, "-c", VIEW, **environment)
    assert result.returncode == 0, result.stderr
    answer: list[dict[str, Any]] = json.loads(result.stdout)
    return answer


def exchange(cluster: Nodes, *layout: int) -> None:
    """Exchange messages between the first and the last rank, twice."""
    result = cluster.run(layout, "-c", EXCHANGE, str(MESSAGE))
    assert result.returncode == 0, result.stderr


def namespaces(name: str) -> list[str]:
    """Return the network namespaces of a set of nodes."""
    result = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    return [line for line in result.stdout.splitlines() if line.startswith(f"murmuration-{name}")]


# The script


def test_the_script_parses() -> None:
    result = subprocess.run(["bash", "-n", SCRIPT], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert SCRIPT.stat().st_mode & stat.S_IXUSR


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    result = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_help_and_usage_agree() -> None:
    result = call("--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert call().stderr == result.stdout


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("up 0", "up takes 1 to 254 nodes, got '0'"),
        ("up 2 --rate", "--rate takes a value like 1gbit, got ''"),
        ("up 2 --layout 2", "up does not take '--layout': see --help"),
        ("run -n 2", "run needs a program after --"),
        ("run --layout 2,0 -- true", "--layout takes a value like 3,1, got '2,0'"),
        ("run --layout 2 --per-node 1 -- true", "--per-node and --layout exclude each other"),
        ("ssh node1", "ssh needs NODE COMMAND..."),
    ],
)
def test_usage_errors_print_one_line(line: str, answer: str) -> None:
    result = call(*line.split())
    assert (result.returncode, result.stdout) == (REFUSED, "")
    assert result.stderr == f"nodes: {answer}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_the_script_requires_root() -> None:
    command = ["setpriv", "--reuid=65534", "--clear-groups", "bash", "-s", "status"]
    with SCRIPT.open() as script:
        result = subprocess.run(command, stdin=script, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (REFUSED, "nodes: must run as root\n")


# Ranks on nodes


@pytest.mark.parametrize("layout", [(2, 2), (3, 1), (2, 1, 1)])
def test_mpi_sees_the_nodes(cluster: Nodes, layout: tuple[int, ...]) -> None:
    hosts = [f"{cluster.name}{i + 1}" for i, ranks in enumerate(layout) for _ in range(ranks)]
    answers = views(cluster, *layout)
    assert len(answers) == sum(layout)
    for rank, view in enumerate(answers):
        assert view["hosts"] == [hosts[rank]] * 3
        assert view["neighbours"] == [r for r, host in enumerate(hosts) if host == hosts[rank]]
        owners = {segment.split(".")[1] for segment in view["segments"]}
        assert owners == ({hosts[rank]} if len(view["neighbours"]) > 1 else set())
        assert view["spaces"] == answers[view["neighbours"][0]]["spaces"]
    for kind in zip(*(view["spaces"] for view in answers), strict=True):
        assert len(set(kind)) == len(layout)


def test_ranks_inherit_the_folder_and_the_environment(
    cluster: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    environment = {"OMP_NUM_THREADS": "3", "PROBE": "two  words; $HOME", "OMPI_MCA_coll": "^han"}
    for view in views(cluster, 1, 1, **environment):
        assert view["folder"] == str(folder)
        assert view["environment"]["PATH"].startswith(os.environ["PATH"])
        assert {key: view["environment"][key] for key in environment} == environment


def test_messages_between_nodes_cross_the_shaped_link(cluster: Nodes) -> None:
    before = cluster.bytes_sent(1), cluster.bytes_sent(2)
    exchange(cluster, 1, 1)
    assert cluster.bytes_sent(1) - before[0] > 2 * MESSAGE
    assert cluster.bytes_sent(2) - before[1] > 2 * MESSAGE
    for node in (1, 2):
        shaping = cluster.on(node, "tc -stats qdisc show dev eth0")
        assert f"rate {RATE_BIT_S // 1_000_000}Mbit" in shaping
        assert re.search(r"overlimits [1-9]", shaping), "no packet was delayed by the rate limit"


def test_messages_within_a_node_stay_off_the_link(cluster: Nodes) -> None:
    before = cluster.bytes_sent(1)
    exchange(cluster, 2)
    assert cluster.bytes_sent(1) - before < MESSAGE / 100


def test_pytest_runs_across_nodes(cluster: Nodes) -> None:
    file = Path(__file__).with_name("test_ranks.py")
    result = cluster.run((3, 1), "-m", "pytest", "-q", "--with-mpi", "--color=no", str(file))
    assert result.returncode == 0, result.stdout + result.stderr
    assert " passed" in result.stdout


def test_run_returns_the_exit_code_of_the_program(cluster: Nodes) -> None:
    code = "import sys; from mpi4py import MPI; sys.exit(5 * (MPI.COMM_WORLD.rank == 1))"
    assert cluster.run((1, 1), "-c", code).returncode == 5


def test_a_layout_with_too_many_nodes_is_refused(cluster: Nodes) -> None:
    result = cluster.run((1, 1, 1, 1), "-c", "")
    assert (result.returncode, result.stdout) == (REFUSED, "")
    assert result.stderr == "nodes: layout 1,1,1,1 needs 4 nodes, but 3 are up\n"


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("-n 4", "test1 test1 test2 test3"),
        ("-n 2", "test1 test2"),
        ("-n 3 --per-node 2", "test1 test1 test2"),
    ],
)
def test_ranks_without_a_layout(cluster: Nodes, options: str, names: str) -> None:
    program = [sys.executable, "-c", "import os; print(os.uname().nodename)"]
    result = call("run", "--name", cluster.name, *options.split(), "--", *program)
    assert sorted(result.stdout.split()) == names.split()


# Cleanup


def test_down_after_a_kill_leaves_nothing(cluster: Nodes, tmp_path: Path) -> None:
    def interfaces() -> list[str]:
        result = subprocess.run(["ip", "-json", "link"], capture_output=True, check=True)
        return [link["ifname"] for link in json.loads(result.stdout)]

    before = interfaces()
    marker = uuid.uuid4().hex  # part of the command line of every rank
    with nodes(2, name="brief") as brief:
        program = [sys.executable, "-c", SLEEP, str(tmp_path), marker]
        job: list[str | Path] = [SCRIPT, "run", *BRIEF, "--layout", "2,1", "--", *program]
        with subprocess.Popen(job, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            wait_until(lambda: len(list(tmp_path.iterdir())) >= 3, "all ranks sleep")
            assert len(processes(marker)) >= 3
            process.send_signal(signal.SIGKILL)
        assert len(namespaces(brief.name)) == 3  # two nodes and the switch
    assert processes(marker) == []
    assert namespaces("brief") == []
    assert interfaces() == before
    assert len(namespaces(cluster.name)) == 4
    again, status = call("down", *BRIEF), call("status", *BRIEF)
    assert (again.returncode, again.stderr) == (0, "")
    assert (status.returncode, status.stderr) == (DOWN, "nodes: brief is down\n")


def processes(marker: str) -> list[str]:
    """Return the ids of the running processes with the marker in their command line."""
    result = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if marker.encode() in line:
            result.append(folder.name)
    return result


@pytest.mark.usefixtures("cluster")
def test_up_replaces_running_nodes() -> None:
    try:
        for count in (3, 1):
            assert call("up", str(count), *BRIEF).returncode == 0
        assert len(namespaces("brief")) == 2
        assert call("status", *BRIEF).stdout.startswith("brief1 10.0.0.1: ")
    finally:
        call("down", *BRIEF)


@pytest.mark.usefixtures("cluster")
def test_a_failed_up_leaves_nothing() -> None:
    result = call("up", "2", "--rate", "5cars", *BRIEF)
    assert (result.returncode, result.stdout) == (REFUSED, "")
    assert result.stderr.startswith("nodes: cannot create a link of 5cars here: ")
    assert result.stderr.count("\n") == 1
    assert namespaces("brief") == []


@pytest.mark.usefixtures("cluster")
def test_down_keeps_foreign_namespaces() -> None:
    foreign = "brief1"
    subprocess.run(["ip", "netns", "add", foreign], check=True)
    try:
        with nodes(1, name="brief") as brief:
            assert brief.on(1, "uname -n") == "brief1\n"
        assert Path("/run/netns", foreign).exists()
    finally:
        subprocess.run(["ip", "netns", "delete", foreign], check=True)


@pytest.mark.usefixtures("cluster")
def test_a_delay_is_applied_or_refused() -> None:
    """Accept a refusal, because many kernels lack netem."""
    try:
        result = call("up", "2", "--delay", "20ms", *BRIEF)
        if result.returncode == REFUSED:
            assert result.stderr.startswith(
                "nodes: cannot create a link with a delay of 20ms here: "
            )
            assert namespaces("brief") == []
        else:
            assert result.returncode == 0, result.stderr
            for node in (1, 2):
                assert "delay 20ms" in Nodes("brief").on(node, "tc qdisc show dev eth0")
    finally:
        call("down", *BRIEF)
