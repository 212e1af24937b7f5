"""The suite's programs as regression tests of a site, for ReFrame.

    reframe -C contrib/reframe/settings.py -c contrib/reframe/murmuration.py --run

README.md beside it says what can be set, and how a site names its references.
"""

import csv
import os
import tomllib
from pathlib import Path

import reframe as rfm
import reframe.utility.sanity as sn
from reframe.core.builtins import (
    parameter,
    performance_function,
    run_after,
    run_before,
    sanity_function,
    variable,
)
from reframe.core.exceptions import ReframeError, SanityError

CHECKOUT = Path(__file__).resolve().parents[2]
PYTHON = os.environ.get("MURMURATION_PYTHON", str(CHECKOUT / ".venv" / "bin" / "python"))


class Program(rfm.RunOnlyRegressionTest):
    """A program of the suite on some ranks; `-S NAME=VALUE` sets what is a variable here."""

    ranks = parameter([2, 4], loggable=True)
    ranks_per_node = variable(int, value=0)
    """0: as Slurm deals them."""
    threads = variable(int, value=1)
    """Cores of a rank."""
    options = variable(str, value="")
    """Further ones of the program."""
    references = variable(str, value=os.environ.get("MURMURATION_REFERENCES", ""))
    """TOML file with what a site expects."""

    valid_systems = ["*"]  # noqa: RUF012  ReFrame's way of declaring
    valid_prog_environs = ["*"]  # noqa: RUF012
    sourcesdir = None
    executable = PYTHON
    time_limit = "15m"

    @run_after("init")
    def ask_for_ranks(self) -> None:
        """What the scheduler and the launcher are told."""
        self.num_tasks = self.ranks
        self.num_tasks_per_node = self.ranks_per_node or None
        self.num_cpus_per_task = self.threads
        self.env_vars = {
            "PATH": f"{Path(PYTHON).parent}:$PATH",  # the mpirun that belongs to this Python
            "PYTHONPATH": f"{CHECKOUT}:$PYTHONPATH",
            "OMP_NUM_THREADS": self.threads,
        }

    @run_before("performance")
    def expect(self) -> None:
        """References of this test on this partition, where the site has some."""
        if not self.references:
            return
        here = self.current_partition.fullname
        known = tomllib.loads(Path(self.references).read_text()).get(here, {})
        expected = known.get(self.display_name, {})
        if unknown := sorted(expected.keys() - self.perf_variables.keys()):
            raise ReframeError(
                f"{self.references}: {unknown[0]!r} is no performance variable of "
                f"{type(self).__name__}; those are {', '.join(self.perf_variables)}"
            )
        self.reference = {here: {name: _limits(*entry) for name, entry in expected.items()}}

    @sn.deferrable
    def no_error(self) -> bool:
        """True where the program has told no mistake; its line is what the test says then."""
        for line in (Path(self.stagedir) / str(self.stderr.evaluate())).read_text().splitlines():
            if line.startswith("error: "):
                raise SanityError(line)
        return True


def _limits(
    value: float, lower: float | None = None, upper: float | None = None, unit: str | None = None
) -> tuple[float, float | None, float | None, str | None]:
    """A reference of ReFrame; inf for a side without a limit."""
    sides = (None if side in {float("inf"), -float("inf")} else side for side in (lower, upper))
    return (value, *sides, unit)


@sn.deferrable
def rows(path: Path) -> list[dict[str, str]]:
    """The rows of a table, by the names in its head."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@rfm.simple_test
class Collectives(Program):
    """An all-reduce beside MPI's own: every sum exact, its latency and its bandwidth."""

    descr = "all-reduces of bench.collectives"
    tags = {"murmuration", "collectives"}  # noqa: RUF012
    algorithm = parameter(["ring", "rabenseifner", "hierarchical"], loggable=True)
    sizes = variable(str, value="1K:16M:x128")
    """MIN:MAX:xFACTOR, in bytes."""

    @run_after("init")
    def ask_for_an_allreduce(self) -> None:
        """The command line."""
        what = ["--algorithms", self.algorithm, "--message-size", self.sizes]
        where = ["--out", ".", "--name", "collectives", "--csv", "collectives.csv"]
        ranks = ["--ranks", str(self.ranks)]
        self.executable_opts = ["-m", "bench.collectives", *ranks, *what, *where, self.options]
        self.keep_files = ["collectives.h5", "collectives.csv"]

    @sanity_function
    def every_sum_is_exact(self) -> object:
        """The verdict that is printed last, and rows of this many ranks."""
        return sn.all(
            [
                self.no_error(),
                sn.assert_found(r"^# #wrong: 0, every sum exact", self.stdout),
                sn.assert_eq(self.of("ranks", 0), float(self.ranks)),
            ]
        )

    @performance_function("us")
    def p50_smallest(self) -> object:
        """Median time of a call on the smallest vector."""
        return self.of("p50_us", 0)

    @performance_function("GB/s")
    def busbw_largest(self) -> object:
        """Bus bandwidth on the largest vector."""
        return self.of("busbw_GBps", -1)

    @performance_function("")
    def vs_library_largest(self) -> object:
        """Its median over that of MPI's own, on the largest vector."""
        return self.of("vs_library", -1)

    @sn.deferrable
    def of(self, column: str, row: int) -> float:
        """A number of this algorithm; row 0 is the smallest vector, -1 the largest."""
        table = rows(Path(self.stagedir) / "collectives.csv").evaluate()
        return float([x for x in table if x["algorithm"] == self.algorithm][row][column])


@rfm.simple_test
class Training(Program):
    """A training run: complete, how long a step takes, and what has been learned."""

    descr = "training runs of bench.train"
    tags = {"murmuration", "training"}  # noqa: RUF012
    algorithm = parameter(["allreduce_sgd", "push_sum", "d_psgd"], loggable=True)
    task = variable(str, value="digits")
    steps = variable(int, value=200)

    @run_after("init")
    def ask_for_a_run(self) -> None:
        """The command line, and the table that is read afterwards."""
        what = ["--algorithm", self.algorithm, "--task", self.task, "--steps", str(self.steps)]
        where = ["--out", ".", "--name", "training"]
        ranks = ["--ranks", str(self.ranks)]
        self.executable_opts = ["-m", "bench.train", *ranks, *what, *where, self.options]
        self.postrun_cmds = [f"{PYTHON} -m bench.report training.h5 --csv training.csv"]
        self.keep_files = ["training.h5", "training.csv"]

    @sanity_function
    def it_is_complete(self) -> object:
        """What the result file says of itself."""
        return sn.all(
            [
                self.no_error(),
                sn.assert_eq(self.of("status"), "complete"),
                sn.assert_eq(self.of("ranks"), str(self.ranks)),
            ]
        )

    @performance_function("ms")
    def step_p50(self) -> object:
        """Median step on its slowest rank."""
        return self.number("step_ms_p50")

    @performance_function("steps/s")
    def pace(self) -> object:
        """Steps a second of the slowest rank, between evaluations."""
        return self.number("pace_slowest")

    @performance_function("")
    def metric(self) -> object:
        """What the task calls its metric, of the mean model, in the end."""
        return self.number("metric")

    @sn.deferrable
    def of(self, column: str) -> str:
        """What the table says."""
        (row,) = rows(Path(self.stagedir) / "training.csv").evaluate()
        return row[column]

    @sn.deferrable
    def number(self, column: str) -> float:
        """The same as a number."""
        return float(self.of(column).evaluate())
