"""Programs across nodes: `with nodes(2) as made: made.run((3, 1), "-m", "bench.train")`."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.launching import DEADLINE_S, wait_until

SCRIPT = Path(__file__).with_name("nodes")
REFUSED = 2
"""Exit code of the script where it, the machine or its kernel cannot do what was asked."""

HARMLESS = "plm:ssh: Warning: setpgid"
"""PRTE says so on stderr where a node's launch agent is quicker than its parent."""


def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """tests/nodes to its end; one that hangs is killed, and fails the test."""
    with subprocess.Popen(
        [SCRIPT, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        start_new_session=True,
    ) as process:
        try:
            out, error = process.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, error)


@dataclass(frozen=True)
class Nodes:
    """Nodes that are up: `name`1, `name`2 and so on."""

    name: str

    def run(
        self, layout: Sequence[int], *arguments: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """`python arguments...` with layout[i] ranks on node i + 1, numbered along the nodes."""
        ranks = ["--name", self.name, "--layout", ",".join(map(str, layout))]
        done = call("run", *ranks, "--", sys.executable, *arguments, **environment)
        lines = done.stderr.splitlines(keepends=True)
        done.stderr = "".join(line for line in lines if HARMLESS not in line)
        return done

    def on(self, node: int, command: str) -> str:
        """What a command line prints on one node."""
        done = call("ssh", f"{self.name}{node}", command)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def bytes_sent(self, node: int) -> int:
        """Bytes that have left a node on its link, headers included."""
        (link,) = json.loads(self.on(node, "ip -json -stats link show eth0"))
        return int(link["stats64"]["tx"]["bytes"])


@contextmanager
def nodes(
    count: int, *, rate: str | None = None, delay: str | None = None, name: str = "test"
) -> Iterator[Nodes]:
    """Some nodes for as long as the context lasts; where none can be had, the test is skipped.

    Then MURMURATION_REQUIRE_NODES=1 makes it fail. One process at a time has the nodes of a name,
    others wait; what a killed one left is replaced.
    """
    _missing(call("status", "--name", name))
    with _alone(name):
        wanted = {"--rate": rate, "--delay": delay, "--name": name}
        options = [word for key, value in wanted.items() if value for word in (key, value)]
        made = call("up", str(count), *options)
        try:
            _missing(made)
            assert made.returncode == 0, made.stderr
            yield Nodes(name)
        finally:
            gone = call("down", "--name", name)
            assert gone.returncode == 0, gone.stderr


def _alone(name: str) -> socket.socket:
    """A lock on this name for all of the machine; it is no file, and goes with the process."""
    lock = socket.socket(socket.AF_UNIX)

    def bound() -> bool:
        try:
            lock.bind(f"\0murmuration-{name}")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        return True

    wait_until(bound, f"no other process has the nodes {name!r}", poll_s=0.2)
    return lock


def _missing(done: subprocess.CompletedProcess[str]) -> None:
    """Skip, or fail, with the script's own line."""
    if done.returncode == REFUSED:
        reason = done.stderr.strip()
        if os.environ.get("MURMURATION_REQUIRE_NODES") == "1":
            pytest.fail(f"{reason}, but MURMURATION_REQUIRE_NODES=1")
        pytest.skip(reason)
