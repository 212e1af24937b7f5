"""The command line of bench.collectives: nccl-tests' letters, OSU's long names."""

import argparse

from algorithms.collectives import ALLREDUCES
from bench.collectives.compat import COMPATS
from bench.common.cli import Parser

DTYPES = {
    "float": "float32",
    "double": "float64",
    "float32": "float32",
    "float64": "float64",
    "int64": "int64",
}
AGAINST = {
    "gloo": "torch.distributed's all-reduce over TCP",
    "out_of_place": "MPI's own from one buffer into another, as OSU's and IMB's benchmarks call it",
}

DEFAULTS = {
    "minbytes": "8",
    "maxbytes": "32M",
    "stepfactor": "4",
    "type": "float",
    "iterations": "20",
    "warmup": "5",
    "ci": "0.05",
    "time": "10",
    "check": "1",
    "seed": "0",
    "compat": "",
    "csv": "",
    "out": "runs",
    "name": "",
    "ranks": "0",
}

EPILOG = """\
columns:
  A sample is the slowest rank's time in one call after a barrier; percentiles are over calls.
  Each rank has just written its vector, as a gradient would be; that write is not timed.
  ci95     the larger half of the median's 95 % interval, as a share of the median
  algbw    S/t for a vector of S bytes; busbw is algbw 2(p-1)/p; GB are 10^9 bytes
  %bound   max(ceil(log2 p) alpha, 2(p-1)/p S/B) over p50: what messages between p ranks need at
           least. shared_memory, and hierarchical inside a node, send none: they can be above 100.
  vs       p50 over that of library, which is always measured
  #wrong   elements that differ from the known sum, over all ranks; any makes the exit code 1
  flags    ! interval not reached   s start skew above 10 % of p50   t clock above 1 % of p50
           o more ranks than cores

example:
  mpirun -n 4 python -m bench.collectives -b 1K -e 16M --algorithms ring,shared_memory --csv t.csv
"""


def parser() -> argparse.ArgumentParser:
    """The command line; every value is still a text, and absent where it was not given."""
    made = Parser(
        prog="python -m bench.collectives",
        description="Time all-reduces against MPI's own on the ranks of mpirun. All candidates "
        "alternate\nwithin one run, size by size, until their medians are known.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _what(made)
    _how(made)
    _where(made)
    return made


def _add(group: argparse._ArgumentGroup, *names: str, metavar: str, help: str) -> None:
    dest = next(name for name in names if name.startswith("--"))[2:].replace("-", "_")
    default = DEFAULTS.get(dest)
    shown = f"{help} (default: {default})" if default else help
    group.add_argument(*names, dest=dest, metavar=metavar, help=shown)


def _what(made: argparse.ArgumentParser) -> None:
    sizes = made.add_argument_group("sizes", "bytes of the vector; K, M, G are 2^10, 2^20, 2^30")
    _add(sizes, "-b", "--minbytes", metavar="SIZE", help="smallest")
    _add(sizes, "-e", "--maxbytes", metavar="SIZE", help="largest")
    _add(sizes, "-f", "--stepfactor", metavar="F", help="from one size to the next")
    _add(
        sizes,
        "--message-size",
        metavar="[MIN:]MAX[:xF]",
        help="the same in one, as OSU has it",
    )
    what = made.add_argument_group("what")
    names = ", ".join(ALLREDUCES)
    _add(what, "-d", "--type", "--datatype", metavar="TYPE", help="float, double or int64")
    _add(what, "--algorithms", metavar="A,B,...", help=f"of {names} (default: all)")
    others = "; ".join(f"{name}: {text}" for name, text in AGAINST.items())
    _add(what, "--against", metavar="A,B,...", help=f"others that alternate with ours: {others}")


def _how(made: argparse.ArgumentParser) -> None:
    how = made.add_argument_group(
        "how long", "a size ends when every median is known, or after --time"
    )
    _add(how, "--ci", metavar="X", help="relative half-width of every median's 95 %% interval")
    _add(how, "--time", metavar="S", help="seconds a size at most, all candidates together")
    _add(how, "-n", "--iterations", "--iters", metavar="N", help="calls of each at least")
    _add(how, "-w", "--warmup", "--warmup_iters", metavar="N", help="calls before, left out")
    how.add_argument(
        "-c",
        "--check",
        "--validation",
        dest="check",
        nargs="?",
        const="1",
        metavar="0|1",
        help="compare a sum with the known one, before and after, untimed (default: 1)",
    )
    _add(how, "--seed", metavar="S", help="of the order within a round")


def _where(made: argparse.ArgumentParser) -> None:
    where = made.add_argument_group("output")
    _add(
        where,
        "--compat",
        metavar="FORMAT",
        help=f"classic columns: {', '.join(COMPATS)}; a table for each of --algorithms, by default "
        "library alone",
    )
    for name, text in (
        ("--full", "with --compat osu: least and greatest rank, calls"),
        ("--tail-lat", "with --compat osu: P99, P90, P50"),
    ):
        where.add_argument(name, action="store_const", const="1", help=text)
    _add(where, "--csv", metavar="FILE", help="write a table with a row an algorithm and size")
    _add(where, "--out", metavar="DIR", help="folder of the result file")
    _add(where, "--name", metavar="NAME", help="name of the result file, without .h5")
    where.add_argument(
        "--overwrite", action="store_const", const="1", help="replace a result of the same name"
    )
    _add(where, "--ranks", metavar="N", help="refuse another number of ranks; 0: any")
