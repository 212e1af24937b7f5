"""ReFrame regression tests: the programs of the suite on the partitions of a site.

    reframe -C contrib/reframe/settings.py -c contrib/reframe/murmuration.py --run

README.md in this folder lists the variables and the format of a site's references.
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
    """Base of the tests: a program on some ranks. `-S NAME=VALUE` sets a variable."""

    ranks = parameter([2, 4], loggable=True)
    ranks_per_node = variable(int, value=0)
    """Ranks on a node; 0 leaves the placement to Slurm."""
    threads = variable(int, value=1)
    """Cores per rank."""
    options = variable(str, value="")
    """Further options of the program."""
    references = variable(str, value=os.environ.get("MURMURATION_REFERENCES", ""))
    """TOML file with the references of the site."""

    valid_systems = ["*"]  # noqa: RUF012  a declaration of ReFrame
    valid_prog_environs = ["*"]  # noqa: RUF012
    sourcesdir = None
    executable = PYTHON
    time_limit = "15m"

    @run_after("init")
    def set_resources(self) -> None:
        """Set the resources of the job and the environment of the ranks."""
        self.num_tasks = self.ranks
        self.num_tasks_per_node = self.ranks_per_node or None
        self.num_cpus_per_task = self.threads
        self.env_vars = {
            "PATH": f"{Path(PYTHON).parent}:$PATH",  # the mpirun of this Python
            "PYTHONPATH": f"{CHECKOUT}:$PYTHONPATH",
            "OMP_NUM_THREADS": self.threads,
        }

    @run_before("performance")
    def set_references(self) -> None:
        """Set the references of this test on this partition from the site's file."""
        if not self.references:
            return
        here = self.current_partition.fullname
        tests = tomllib.loads(Path(self.references).read_text()).get(here, {})
        expected = tests.get(self.display_name, {})
        if unknown := sorted(expected.keys() - self.perf_variables.keys()):
            raise ReframeError(
                f"{self.references}: {type(self).__name__} has no performance variable "
                f"{unknown[0]!r}; known: {', '.join(self.perf_variables)}"
            )
        self.reference = {here: {name: _limits(*entry) for name, entry in expected.items()}}

    @sn.deferrable
    def no_error(self) -> bool:
        """Return True if the program printed no error; otherwise fail with its error line."""
        for line in (Path(self.stagedir) / str(self.stderr.evaluate())).read_text().splitlines():
            if line.startswith("error: "):
                raise SanityError(line)
        return True


def _limits(
    value: float, lower: float | None = None, upper: float | None = None, unit: str | None = None
) -> tuple[float, float | None, float | None, str | None]:
    """Return a reference of ReFrame; an infinite limit becomes None."""
    sides = (None if side in {float("inf"), -float("inf")} else side for side in (lower, upper))
    return (value, *sides, unit)


@sn.deferrable
def rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file as dictionaries by column name."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@rfm.simple_test
class Collectives(Program):
    """Test of an all-reduce: exact sums, latency, and bandwidth relative to MPI's own."""

    descr = "all-reduces of bench.collectives"
    tags = {"murmuration", "collectives"}  # noqa: RUF012
    algorithm = parameter(["ring", "rabenseifner", "hierarchical"], loggable=True)
    sizes = variable(str, value="1K:16M:x128")
    """Sizes as MIN:MAX:xFACTOR, in bytes."""

    @run_after("init")
    def set_command(self) -> None:
        """Set the command line and the files to keep."""
        what = ["--algorithms", self.algorithm, "--message-size", self.sizes]
        where = ["--out", ".", "--name", "collectives", "--csv", "collectives.csv"]
        ranks = ["--ranks", str(self.ranks)]
        self.executable_opts = ["-m", "bench.collectives", *ranks, *what, *where, self.options]
        self.keep_files = ["collectives.h5", "collectives.csv"]

    @sanity_function
    def check_sums(self) -> object:
        """Check the final verdict and the number of ranks in the table."""
        return sn.all(
            [
                self.no_error(),
                sn.assert_found(r"^# #wrong: 0, every result exact", self.stdout),
                sn.assert_eq(self.cell("ranks", 0), float(self.ranks)),
            ]
        )

    @performance_function("us")
    def p50_smallest(self) -> object:
        """Return the median time of a call on the smallest vector."""
        return self.cell("p50_us", 0)

    @performance_function("GB/s")
    def busbw_largest(self) -> object:
        """Return the bus bandwidth on the largest vector."""
        return self.cell("busbw_GBps", -1)

    @performance_function("")
    def vs_library_largest(self) -> object:
        """Return the median relative to that of MPI's own, on the largest vector."""
        return self.cell("vs_library", -1)

    @sn.deferrable
    def cell(self, column: str, row: int) -> float:
        """Return a number of this algorithm; row 0 is the smallest vector, -1 the largest."""
        table = rows(Path(self.stagedir) / "collectives.csv").evaluate()
        return float([x for x in table if x["algorithm"] == self.algorithm][row][column])


@rfm.simple_test
class Training(Program):
    """Test of a training run: status, step time and final metric."""

    descr = "training runs of bench.train"
    tags = {"murmuration", "training"}  # noqa: RUF012
    algorithm = parameter(["allreduce_sgd", "push_sum", "d_psgd"], loggable=True)
    task = variable(str, value="digits")
    steps = variable(int, value=200)

    @run_after("init")
    def set_command(self) -> None:
        """Set the command line, and the table to write after the run."""
        what = ["--algorithm", self.algorithm, "--task", self.task, "--steps", str(self.steps)]
        where = ["--out", ".", "--name", "training"]
        ranks = ["--ranks", str(self.ranks)]
        self.executable_opts = ["-m", "bench.train", *ranks, *what, *where, self.options]
        self.postrun_cmds = [f"{PYTHON} -m bench.report training.h5 --csv training.csv"]
        self.keep_files = ["training.h5", "training.csv"]

    @sanity_function
    def check_status(self) -> object:
        """Check the status and the number of ranks in the result file."""
        return sn.all(
            [
                self.no_error(),
                sn.assert_eq(self.cell("status"), "complete"),
                sn.assert_eq(self.cell("ranks"), str(self.ranks)),
            ]
        )

    @performance_function("ms")
    def step(self) -> object:
        """Return the elapsed time over the steps, on the slowest rank."""
        return self.number("step_ms")

    @performance_function("ms")
    def step_p50(self) -> object:
        """Return the median step on its slowest rank."""
        return self.number("step_ms_p50")

    @performance_function("steps/s")
    def pace(self) -> object:
        """Return the steps per second of the slowest rank, between evaluations."""
        return self.number("pace_slowest")

    @performance_function("")
    def metric(self) -> object:
        """Return the final metric of the mean model."""
        return self.number("metric")

    @sn.deferrable
    def cell(self, column: str) -> str:
        """Return a cell of the table."""
        (row,) = rows(Path(self.stagedir) / "training.csv").evaluate()
        return row[column]

    @sn.deferrable
    def number(self, column: str) -> float:
        """Return a cell of the table as a number."""
        return float(self.cell(column).evaluate())
