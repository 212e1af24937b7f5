"""tests/nodes: nodes that MPI takes for machines of their own, and nothing left of them.

For root on Linux, with iproute2. MURMURATION_REQUIRE_NODES=1 makes the lack of it a failure.
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
MESSAGE = 1 << 24
"""Bytes sent across."""
DOWN = 3
"""Exit code of status."""
BRIEF = ("--name", "brief")
"""Nodes beside those of the fixture."""

VIEW = """
import json, os, socket
from mpi4py import MPI

world = MPI.COMM_WORLD
mates = world.Split_type(MPI.COMM_TYPE_SHARED)
world.allreduce(1)
mates.allreduce(1)
with open("/proc/self/maps") as maps:
    segments = {line.rpartition("/")[2].strip() for line in maps if "/sm_segment." in line}
view = {
    "mates": mates.allgather(world.rank),
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
sent = np.zeros(int(sys.argv[1]), np.uint8)
received = np.empty_like(sent)
other = world.size - 1 - world.rank
for _ in range(2):  # connections are made at the first
    world.Barrier()
    world.Sendrecv(sent, other, 0, received, other, 0)
"""

SLEEP = """
import pathlib, sys, time
from mpi4py import MPI

pathlib.Path(sys.argv[1], str(MPI.COMM_WORLD.rank)).touch()
time.sleep(600)
"""


@pytest.fixture(scope="module")
def made() -> Iterator[Nodes]:
    with nodes(3, rate=f"{RATE_BIT_S // 1_000_000}mbit") as up:
        yield up


def views(made: Nodes, *layout: int, **environment: str) -> list[dict[str, Any]]:
    """What each rank sees."""
    done = made.run(layout, "-c", VIEW, **environment)
    assert done.returncode == 0, done.stderr
    seen: list[dict[str, Any]] = json.loads(done.stdout)
    return seen


def exchange(made: Nodes, *layout: int) -> None:
    """Have the first and the last rank exchange messages, twice."""
    done = made.run(layout, "-c", EXCHANGE, str(MESSAGE))
    assert done.returncode == 0, done.stderr


def ours(name: str) -> list[str]:
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True)
    return [line for line in listed.stdout.splitlines() if line.startswith(f"murmuration-{name}")]


# The script


def test_the_shell_can_read_it() -> None:
    done = subprocess.run(["bash", "-n", SCRIPT], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert SCRIPT.stat().st_mode & stat.S_IXUSR


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_it_explains_itself() -> None:
    done = call("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert call().stderr == done.stdout


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("up 0", "up takes 1 to 254 nodes, got '0'"),
        ("up 2 --rate", "--rate takes 1gbit or the like, got ''"),
        ("up 2 --layout 2", "up takes no '--layout': see --help"),
        ("run -n 2", "run takes a program after --"),
        ("run --layout 2,0 -- true", "--layout takes 3,1 or the like, got '2,0'"),
        ("run --layout 2 --per-node 1 -- true", "--per-node and --layout exclude each other"),
        ("ssh node1", "ssh takes NODE COMMAND..."),
    ],
)
def test_a_mistake_ends_it_with_one_line(line: str, answer: str) -> None:
    done = call(*line.split())
    assert (done.returncode, done.stdout) == (REFUSED, "")
    assert done.stderr == f"nodes: {answer}\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_it_is_for_root() -> None:
    command = ["setpriv", "--reuid=65534", "--clear-groups", "bash", "-s", "status"]
    with SCRIPT.open() as script:
        done = subprocess.run(command, stdin=script, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (REFUSED, "nodes: must run as root\n")


# Ranks on nodes


@pytest.mark.parametrize("layout", [(2, 2), (3, 1), (2, 1, 1)])
def test_mpi_sees_the_nodes(made: Nodes, layout: tuple[int, ...]) -> None:
    hosts = [f"{made.name}{i + 1}" for i, ranks in enumerate(layout) for _ in range(ranks)]
    seen = views(made, *layout)
    assert len(seen) == sum(layout)
    for rank, view in enumerate(seen):
        assert view["hosts"] == [hosts[rank]] * 3
        assert view["mates"] == [r for r, host in enumerate(hosts) if host == hosts[rank]]
        segments_of = {segment.split(".")[1] for segment in view["segments"]}
        assert segments_of == ({hosts[rank]} if len(view["mates"]) > 1 else set())
        assert view["spaces"] == seen[view["mates"][0]]["spaces"]
    for kind in zip(*(view["spaces"] for view in seen), strict=True):
        assert len(set(kind)) == len(layout)


def test_every_rank_has_the_folder_and_the_environment(
    made: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    given = {"OMP_NUM_THREADS": "3", "PROBE": "two  words; $HOME", "OMPI_MCA_coll": "^han"}
    for view in views(made, 1, 1, **given):
        assert view["folder"] == str(folder)
        assert view["environment"]["PATH"].startswith(os.environ["PATH"])
        assert {key: view["environment"][key] for key in given} == given


def test_between_nodes_messages_cross_the_link_at_its_rate(made: Nodes) -> None:
    before = made.bytes_sent(1), made.bytes_sent(2)
    exchange(made, 1, 1)
    assert made.bytes_sent(1) - before[0] > 2 * MESSAGE
    assert made.bytes_sent(2) - before[1] > 2 * MESSAGE
    for node in (1, 2):
        shaping = made.on(node, "tc -stats qdisc show dev eth0")
        assert f"rate {RATE_BIT_S // 1_000_000}Mbit" in shaping
        assert re.search(r"overlimits [1-9]", shaping), "packets had to wait for their turn"


def test_within_a_node_they_do_not(made: Nodes) -> None:
    before = made.bytes_sent(1)
    exchange(made, 2)
    assert made.bytes_sent(1) - before < MESSAGE / 100


def test_a_suite_runs_across_nodes(made: Nodes) -> None:
    file = Path(__file__).with_name("test_ranks.py")
    done = made.run((3, 1), "-m", "pytest", "-q", "--with-mpi", "--color=no", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_the_exit_code_is_the_programs(made: Nodes) -> None:
    code = "import sys; from mpi4py import MPI; sys.exit(5 * (MPI.COMM_WORLD.rank == 1))"
    assert made.run((1, 1), "-c", code).returncode == 5


def test_more_nodes_than_there_are(made: Nodes) -> None:
    done = made.run((1, 1, 1, 1), "-c", "")
    assert (done.returncode, done.stdout) == (REFUSED, "")
    assert done.stderr == "nodes: layout 1,1,1,1 takes 4 nodes, 3 are up\n"


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("-n 4", "test1 test1 test2 test3"),
        ("-n 2", "test1 test2"),
        ("-n 3 --per-node 2", "test1 test1 test2"),
    ],
)
def test_ranks_without_a_layout(made: Nodes, options: str, names: str) -> None:
    program = [sys.executable, "-c", "import os; print(os.uname().nodename)"]
    done = call("run", "--name", made.name, *options.split(), "--", *program)
    assert sorted(done.stdout.split()) == names.split()


# What is left


def test_down_after_a_kill_leaves_nothing(made: Nodes, tmp_path: Path) -> None:
    def interfaces() -> list[str]:
        done = subprocess.run(["ip", "-json", "link"], capture_output=True, check=True)
        return [link["ifname"] for link in json.loads(done.stdout)]

    before = interfaces()
    marker = uuid.uuid4().hex  # in every rank's command line
    with nodes(2, name="brief") as brief:
        program = [sys.executable, "-c", SLEEP, str(tmp_path), marker]
        job: list[str | Path] = [SCRIPT, "run", *BRIEF, "--layout", "2,1", "--", *program]
        with subprocess.Popen(job, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            wait_until(lambda: len(list(tmp_path.iterdir())) >= 3, "all ranks sleep")
            assert len(running(marker)) >= 3
            process.send_signal(signal.SIGKILL)
        assert len(ours(brief.name)) == 3  # the switch, too
    assert running(marker) == []
    assert ours("brief") == []
    assert interfaces() == before
    assert len(ours(made.name)) == 4
    again, status = call("down", *BRIEF), call("status", *BRIEF)
    assert (again.returncode, again.stderr) == (0, "")
    assert (status.returncode, status.stderr) == (DOWN, "nodes: brief is down\n")


def running(marker: str) -> list[str]:
    """Process ids of those that have a word in their command line; the dead have none."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if marker.encode() in line:
            found.append(folder.name)
    return found


@pytest.mark.usefixtures("made")
def test_up_replaces_what_is_up() -> None:
    try:
        for count in (3, 1):
            assert call("up", str(count), *BRIEF).returncode == 0
        assert len(ours("brief")) == 2
        assert call("status", *BRIEF).stdout.startswith("brief1 10.0.0.1: ")
    finally:
        call("down", *BRIEF)


@pytest.mark.usefixtures("made")
def test_an_up_that_fails_leaves_nothing() -> None:
    done = call("up", "2", "--rate", "5cars", *BRIEF)
    assert (done.returncode, done.stdout) == (REFUSED, "")
    assert done.stderr.startswith("nodes: cannot create a link of 5cars here: ")
    assert done.stderr.count("\n") == 1
    assert ours("brief") == []


@pytest.mark.usefixtures("made")
def test_a_namespace_of_somebody_else_stays() -> None:
    theirs = "brief1"
    subprocess.run(["ip", "netns", "add", theirs], check=True)
    try:
        with nodes(1, name="brief") as brief:
            assert brief.on(1, "uname -n") == "brief1\n"
        assert Path("/run/netns", theirs).exists()
    finally:
        subprocess.run(["ip", "netns", "delete", theirs], check=True)


@pytest.mark.usefixtures("made")
def test_a_delay_is_kept_or_refused() -> None:
    """Many kernels come without netem."""
    try:
        done = call("up", "2", "--delay", "20ms", *BRIEF)
        if done.returncode == REFUSED:
            assert done.stderr.startswith("nodes: cannot create a link with a delay of 20ms here: ")
            assert ours("brief") == []
        else:
            assert done.returncode == 0, done.stderr
            for node in (1, 2):
                assert "delay 20ms" in Nodes("brief").on(node, "tc qdisc show dev eth0")
    finally:
        call("down", *BRIEF)
