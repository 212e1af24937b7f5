"""Fixtures of all tests, and the report of a test session on several ranks."""

import faulthandler
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mpi4py import MPI

from bench.results import guard
from bench.results.guard import kept_readers
from tests.launching import DEADLINE_S, GPU, NO_GPU

IDLE = "this rank is not in the communicator of the test"
POLL_S = 0.001
"""Interval between checks of a rank that waits: it leaves the cores to the others."""
_STDERR = pytest.StashKey[int]()
"""File descriptor of the process's stderr, which pytest does not capture."""


@pytest.fixture(params=[1, 2, 3, 4], ids=lambda size: f"{size}ranks")
def comm(request: pytest.FixtureRequest) -> Iterator[MPI.Intracomm]:
    """Yield a communicator of the first 1, 2, 3 or 4 ranks; the others skip the test, asleep."""
    world = MPI.COMM_WORLD
    subset = world.Split(0 if world.rank < request.param else MPI.UNDEFINED, world.rank)
    assert isinstance(subset, MPI.Intracomm)
    try:
        if subset == MPI.COMM_NULL:
            pytest.skip(IDLE)
        yield subset
        subset.Free()
    finally:
        done = world.Ibarrier()
        while not done.Test():
            time.sleep(POLL_S)


@pytest.fixture(scope="session", autouse=True)
def _kept_readers() -> Iterator[None]:
    """Keep the readers of result files, as bench.watch does: a fork takes longer than most tests.

    They read as this process was at the fork; a test that patches their code uses `new_readers`.
    """
    with kept_readers():
        yield


@pytest.fixture
def new_readers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each call of this test fork its readers from this process as it is."""
    monkeypatch.setattr(guard._here, "idle", None)


@pytest.fixture(autouse=True)
def _no_hang(request: pytest.FixtureRequest) -> Iterator[None]:
    """Print the stack of this rank and exit if a test under mpirun reaches the deadline."""
    if request.node.get_closest_marker("mpi"):
        stderr = request.config.stash[_STDERR]
        faulthandler.dump_traceback_later(DEADLINE_S, exit=True, file=stderr)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let only rank 0 report under mpirun, and keep the user's cache out of the tests.

    Other ranks print their failures only. The algorithm `auto` caches its measurements, so tests
    use a temporary cache folder.
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


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out files without MPI tests where only those run: each rank would import them."""
    if config.getoption("markexpr") != "mpi" or collection_path.suffix != ".py":
        return None
    return "mark.mpi" not in collection_path.read_text() or None


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes after their argument: two workers may make other ones, and must agree on names."""
    return argname if isinstance(val, bytes) else None


class _OnlyFailures:
    """Plugin that prints failures together with the rank."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            heading = f"rank {MPI.COMM_WORLD.rank}: {report.nodeid}"
            print(f"\n{heading}\n{report.longreprtext}", file=sys.stderr, flush=True)


class _NoSkips:
    """Plugin that fails the session if a test was skipped that this machine could run."""

    def __init__(self) -> None:
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not any(x in str(report.longrepr) for x in (IDLE, GPU, NO_GPU)):
            self.skipped.append(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.skipped:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
            print(
                f"\nskipped tests count as failures here: {', '.join(self.skipped)}",
                file=sys.stderr,
            )
