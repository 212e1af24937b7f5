"""Command line of bench.collectives: the letters of nccl-tests and the long names of OSU."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from bench.collectives.config import SIZES, Config, algorithms_of, measured_sizes, translated
from bench.common.options import Table, check_name, check_ranges, flag, option
from bench.common.spec import UserError, unknown_name
from bench.results.rows import ALLREDUCE

DTYPES = {
    "float": "float32",
    "double": "float64",
    "float32": "float32",
    "float64": "float64",
    "int64": "int64",
}
"""Name of an element type on the command line -> numpy's name."""
AGAINST = {
    "gloo": "torch.distributed's all-reduce over TCP",
    "out_of_place": "MPI_Allreduce from one buffer to another, as OSU and IMB call it",
}
"""Further candidates of --against."""
OPERATIONS = (ALLREDUCE, "reduce_scatter", "all_gather", "broadcast", "all_to_all")
"""Names of --op; a test compares them with the registry, which needs NumPy."""
FORMATS = ("osu", "nccl", "imb")
"""Output formats of --compat."""

EPILOG = """\
columns:
  A sample is the slowest rank's time in one call after a barrier; percentiles are over calls.
  Before each call every rank writes its vector, as a gradient would; that write is not timed.
  ci95     larger half of the median's 95 % interval, relative to the median
  algbw    S/t for a vector of S bytes; busbw is algbw 2(p-1)/p; 1 GB is 10^9 bytes.
           With --op the factor is (p-1)/p, for broadcast 1; S is the whole vector, which p chunks
           make up: rank r ends a reduce_scatter with chunk r of the sum, begins an all_gather with
           chunk r, and sends chunk r of its vector to rank r in an all_to_all.
  %bound   max(ceil(log2 p) alpha, 2(p-1)/p S/B), with the same factor, over p50: the lower bound
           for messages between p ranks. shared_memory, and hierarchical within a node, send none
           and can exceed 100.
           - if alpha or B, whichever decides, was unsteady (interquartile range of the round
           trips above half of their median), or an all-reduce was far faster than the bound
  vs       p50 over that of library, which is always measured
  #wrong   elements that differ from the exact sum, over all ranks; the exit code is then 1
  flags    ! interval not reached   s start skew above 10 % of p50   t clock above 1 % of p50
           o more ranks than cores   b no bound: see %bound

example:
  mpirun -n 4 python -m bench.collectives -b 1K -e 16M --algorithms ring,shared_memory --csv t.csv
"""

SAME = "options of other benchmarks"
FIXED = {
    "ngpus": "a rank is one process: launch more ranks, `mpirun -n 8`",
    "nthreads": "a rank is one process: launch more ranks, `mpirun -n 8`",
    "agg_iters": "every call is timed by itself",
    "reduction": "the sum is measured, whose result is exact",
}
"""Options of one value -> the reason."""
GROUPS = {
    "sizes": "bytes of the vector; K, M, G are 2^10, 2^20, 2^30; the largest is always measured; "
    "by default,\n--compat osu doubles from one element to 1M, and --compat nccl takes 32M alone",
    "candidates": "",
    "duration": "a size ends when all medians have converged, or after --time",
    SAME: "",
    "output": "",
}


@dataclass(frozen=True)
class Options:
    """Options of bench.collectives as the user gives them."""

    minbytes: str = option("8", "smallest size", "SIZE", names=("-b",), group="sizes")
    maxbytes: str = option("32M", "largest size", "SIZE", names=("-e",), group="sizes")
    stepfactor: float = option(4.0, "ratio of consecutive sizes", "F", names=("-f",), group="sizes")
    stepbytes: str = option(
        "", "difference of consecutive sizes, in place of their ratio", "SIZE", group="sizes"
    )
    message_size: str = option(
        "",
        "smallest and largest size and their ratio in one, as in OSU",
        "[MIN:]MAX[:xF]",
        names=("-m",),
        group="sizes",
    )
    op: str = option(
        ALLREDUCE,
        f"collective to time: {', '.join(OPERATIONS)}",
        "OP",
        group="candidates",
    )
    type: str = option(
        "float",
        "float, double or int64",
        "TYPE",
        names=("-d", "--datatype"),
        group="candidates",
    )
    algorithms: str = option(
        "",
        "algorithms to time, names of `python -m bench list` (default: all)",
        "A,B,...",
        group="candidates",
    )
    against: str = option(
        "",
        "further candidates: " + "; ".join(f"{name}: {text}" for name, text in AGAINST.items()),
        "A,B,...",
        group="candidates",
    )
    ci: float = option(
        0.05, "relative half-width of every median's 95 %% interval", "X", group="duration"
    )
    time: float = option(
        10.0, "maximum seconds per size, for all candidates together", "S", group="duration"
    )
    iterations: int = option(
        20,
        "minimum number of calls of each candidate",
        "N",
        names=("-n", "-i", "--iters"),
        group="duration",
        least=1,
    )
    warmup: int = option(
        5,
        "calls before the first sample",
        "N",
        names=("-w", "-x", "--warmup_iters"),
        group="duration",
        least=0,
    )
    check: str = option(
        "1",
        "validate a sum before and after the timed calls",
        "0|1",
        names=("-c", "--validation"),
        group="duration",
        nargs="?",
        const="1",
    )
    ngpus: int = option(
        1, "accelerators of a rank, 1 as in scripts of nccl-tests", "1", names=("-g",), group=SAME
    )
    nthreads: int = option(
        1, "threads of a rank that call, 1 as above", "1", names=("-t",), group=SAME
    )
    agg_iters: int = option(
        1, "operations in a call, 1 as above; -m with --compat nccl", "1", names=(), group=SAME
    )
    reduction: str = option("sum", "sum, as above", "sum", names=("-o",), group=SAME)
    seed: int = option(0, "seed of the order within a round", "S", group="duration", least=0)
    compat: str = option(
        "",
        f"columns of another benchmark: {', '.join(FORMATS)}; one table for each of --algorithms "
        "(default: library); nccl times every call out of place as well",
        "FORMAT",
        group="output",
    )
    full: bool = option(
        False, "with --compat osu: minimum and maximum over ranks, calls", group="output"
    )
    tail_lat: bool = option(False, "with --compat osu: P99, P90, P50", group="output")
    csv: str = option(
        "", "write a table with one row per algorithm and size", "FILE", group="output"
    )
    out: str = option("runs", "folder of the result file", "DIR", group="output")
    name: str = option("", "name of the result file, without .h5", "NAME", group="output")
    overwrite: bool = option(False, "replace a result of the same name", group="output")
    launches: int = option(
        1,
        "measurements in the same processes, with everything else built anew, as NAME, NAME-2, "
        "NAME-3, ...; without --name, starting the program again takes the next of these names, "
        "in new processes",
        "N",
        group="output",
        least=1,
    )
    ranks: int = option(
        0, "refuse to run on another number of ranks; 0: any", "N", group="output", least=0
    )

    def __post_init__(self) -> None:
        check_ranges(self)
        for name, reason in FIXED.items():
            only = Options.__dataclass_fields__[name].default
            if getattr(self, name) != only:
                value = getattr(self, name)
                raise UserError(f"{flag(name)} must be {only}, got {value}: {reason}")
        for name, bound in (("ci", 1.0), ("time", math.inf)):
            _check_between(name, getattr(self, name), bound)
        if self.op not in OPERATIONS:
            raise unknown_name("--op", self.op, OPERATIONS)
        for name in ("against", "compat"):
            if self.op != ALLREDUCE and getattr(self, name):
                raise UserError(
                    f"--{name} {getattr(self, name)} is for all-reduces, got --op {self.op}: "
                    "leave out one of them"
                )
        if self.compat and self.compat not in FORMATS:
            raise unknown_name("--compat", self.compat, FORMATS)
        for name in ("full", "tail_lat"):
            if getattr(self, name) and self.compat != "osu":
                raise UserError(
                    f"{flag(name)} adds columns to --compat osu alone: give both or neither"
                )
        if self.csv and self.launches > 1:
            raise UserError(
                f"--csv {self.csv} has the rows of one launch, got --launches {self.launches}: "
                "leave --csv out, and give it to bench.report"
            )
        if self.compat == "nccl" and "out_of_place" in self.against.split(","):
            raise UserError(
                "--against out_of_place: --compat nccl times every all-reduce out of place "
                "already, leave it out"
            )
        check_name(self.name)


TABLE = Table(
    Options,
    prog="python -m bench.collectives",
    description="Time all-reduces, or the collectives of --op, against MPI's own on the ranks of "
    "mpirun.\nAll candidates alternate within one run, size by size, until their medians have "
    "converged.",
    epilog=EPILOG,
    groups=GROUPS,
)


def read(argv: Sequence[str]) -> Config:
    """Return the configuration of a command line. Errors: UserError."""
    return configured(TABLE.texts(translated(argv)))


def configured(texts: Mapping[str, str]) -> Config:
    """Return the configuration that some options, given as texts, describe. Errors: UserError."""
    options = TABLE.build(texts)
    dtype = _dtype(options.type)
    chosen = {name: getattr(options, name) for name in SIZES if name in texts}
    sizes, notes = measured_sizes(chosen, options.compat, dtype)
    return Config(
        sizes=sizes,
        notes=notes,
        op=options.op,
        dtype=dtype,
        algorithms=_names("algorithms", options, texts.keys(), algorithms_of(options.op)),
        against=_names("against", options, texts.keys(), AGAINST),
        iterations=options.iterations,
        warmup=options.warmup,
        ci=options.ci,
        time_s=options.time,
        check=_check(options.check),
        seed=options.seed,
        compat=options.compat,
        full=options.full,
        tail_lat=options.tail_lat,
        csv=options.csv,
        out=options.out,
        name=options.name,
        overwrite=options.overwrite,
        ranks=options.ranks,
        launches=options.launches,
    )


def _dtype(text: str) -> str:
    name = text.lower().removeprefix("mpi_")
    if name not in DTYPES:
        raise unknown_name("--type", text, DTYPES)
    return DTYPES[name]


def _names(
    option: str, options: Options, named: Collection[str], known: Collection[str]
) -> tuple[str, ...]:
    if option not in named:
        return ()
    names = [name.strip() for name in getattr(options, option).split(",") if name.strip()]
    if not names:
        raise UserError(f"--{option} must name one or more of {', '.join(known)}, got nothing")
    for name in names:
        if name not in known:
            raise unknown_name(f"name in --{option}", name, known)
    return tuple(dict.fromkeys(names))


def _check_between(option: str, value: float, bound: float) -> None:
    if not 0 < value < bound:
        rule = "a finite number > 0" if math.isinf(bound) else f"between 0 and {bound:g}"
        raise UserError(f"--{option} must be {rule}, got {value:g}")


def _check(text: str) -> bool:
    if text not in ("0", "1"):
        raise UserError(
            f"--check must be 1 (the default) or 0, which switches it off, got {text!r}"
        )
    return text == "1"
