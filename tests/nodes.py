"""Simulated nodes for tests of programs that run across machines.

Example: `with nodes(2) as cluster: cluster.run((3, 1), "-m", "bench.train")`.
"""

import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.launching import finish, wait_until

SCRIPT = Path(__file__).with_name("nodes")
REFUSED = 2
"""Exit code of the script for a usage error or a missing requirement."""
HARMLESS = "plm:ssh: Warning: setpgid"
"""Warning of PRTE on stderr after a race between a launch agent and its parent."""


def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script tests/nodes; a hang fails the test after DEADLINE_S."""
    return finish([SCRIPT, *arguments], **environment)


@dataclass(frozen=True)
class Nodes:
    """Running nodes with the names `name`1, `name`2 and so on."""

    name: str

    def run(
        self, layout: Sequence[int], *arguments: str, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `python arguments...` with layout[i] ranks on node i + 1, in the order of ranks."""
        ranks = ["--name", self.name, "--layout", ",".join(map(str, layout))]
        result = call("run", *ranks, "--", sys.executable, *arguments, **environment)
        lines = result.stderr.splitlines(keepends=True)
        result.stderr = "".join(line for line in lines if HARMLESS not in line)
        return result

    def on(self, node: int, command: str) -> str:
        """Run a command line on one node and return its output."""
        result = call("ssh", f"{self.name}{node}", command)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def bytes_sent(self, node: int) -> int:
        """Return the bytes sent over the link of a node, headers included."""
        (link,) = json.loads(self.on(node, "ip -json -stats link show eth0"))
        return int(link["stats64"]["tx"]["bytes"])


@contextmanager
def nodes(
    count: int, *, rate: str | None = None, delay: str | None = None, name: str = "test"
) -> Iterator[Nodes]:
    """Yield simulated nodes and remove them at the end.

    Where nodes cannot be created, the test is skipped, or fails with MURMURATION_REQUIRE_NODES=1.
    A lock gives the nodes of a name to one process at a time. Nodes that remain from a killed
    process are replaced.
    """
    _skip_if_refused(call("status", "--name", name))
    with _lock(name):
        options = {"--rate": rate, "--delay": delay, "--name": name}
        words = [word for key, value in options.items() if value for word in (key, value)]
        result = call("up", str(count), *words)
        try:
            _skip_if_refused(result)
            assert result.returncode == 0, result.stderr
            yield Nodes(name)
        finally:
            removal = call("down", "--name", name)
            assert removal.returncode == 0, removal.stderr


def _lock(name: str) -> socket.socket:
    """Wait for the lock on a name, an abstract socket that the kernel closes with the process."""
    lock = socket.socket(socket.AF_UNIX)

    def bind() -> bool:
        try:
            lock.bind(f"\0murmuration-{name}")
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        return True

    wait_until(bind, f"no other process uses the nodes {name!r}", poll_s=0.2)
    return lock


def _skip_if_refused(result: subprocess.CompletedProcess[str]) -> None:
    """Skip or fail the test if the script refused, with its message."""
    if result.returncode == REFUSED:
        reason = result.stderr.strip()
        if os.environ.get("MURMURATION_REQUIRE_NODES") == "1":
            pytest.fail(f"{reason}, but MURMURATION_REQUIRE_NODES=1")
        pytest.skip(reason)
