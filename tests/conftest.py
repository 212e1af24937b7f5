"""Fixtures of all tests, and how a suite that runs on several ranks reports."""

import faulthandler
import os
import sys
import tempfile
from collections.abc import Iterator

import pytest
from mpi4py import MPI

from tests.launching import DEADLINE_S

_STDERR = pytest.StashKey[int]()
"""The real stderr, where a stack can be read although pytest captures what tests write."""


@pytest.fixture(params=[1, 2, 3, 4], ids=lambda size: f"{size}ranks")
def comm(request: pytest.FixtureRequest) -> Iterator[MPI.Intracomm]:
    """A communicator of 1, 2, 3 or 4 ranks; no rank sits out: the rest form one of their own."""
    world = MPI.COMM_WORLD
    made = world.Split(world.rank // request.param, world.rank)
    assert isinstance(made, MPI.Intracomm)
    yield made
    made.Free()


@pytest.fixture(autouse=True)
def _no_hang(request: pytest.FixtureRequest) -> Iterator[None]:
    """End the whole job, with every rank's stack, where a test under mpirun hangs."""
    if request.node.get_closest_marker("mpi"):
        stderr = request.config.stash[_STDERR]
        faulthandler.dump_traceback_later(DEADLINE_S, exit=True, file=stderr)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Under mpirun only rank 0 reports; others speak up only when a test fails there.

    What auto measures between tests is not for the user's cache.
    """
    capturing = config.pluginmanager.getplugin("capturemanager")
    with capturing.global_and_fixture_disabled():
        config.stash[_STDERR] = os.dup(sys.stderr.fileno())
    cache = tempfile.TemporaryDirectory(prefix="murmuration-tests-")
    config.add_cleanup(cache.cleanup)
    os.environ["XDG_CACHE_HOME"] = cache.name
    if config.getoption("--with-mpi", default=False) and MPI.COMM_WORLD.rank > 0:
        reporter = config.pluginmanager.getplugin("terminalreporter")
        config.pluginmanager.unregister(reporter)
        config.pluginmanager.register(_OnlyFailures())
    if os.environ.get("MURMURATION_NO_SKIPS"):
        config.pluginmanager.register(_NoSkips())


class _OnlyFailures:
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            where = f"rank {MPI.COMM_WORLD.rank}: {report.nodeid}"
            print(f"\n{where}\n{report.longreprtext}", file=sys.stderr, flush=True)


class _NoSkips:
    """Counts what was skipped, and fails the session for it."""

    def __init__(self) -> None:
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self.skipped.append(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.skipped:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            print(f"\nskipped where nothing may be: {', '.join(self.skipped)}", file=sys.stderr)
