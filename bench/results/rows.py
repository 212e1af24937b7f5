"""Rows of derived numbers: one class per program, with the unit and long name of each column.

CSV, Parquet, /summary of a result file, the metrics of bench.compare and the lists of columns in
docs/format.md are generated from these declarations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, get_args, get_type_hints

from bench.common.sizes import format_size

ALLREDUCE = "allreduce"
"""Operation that `bench.collectives` measures by default; collectives.OPERATIONS has the others."""
YARDSTICK = "library"
"""Candidate that is always measured: the column `vs library` is relative to it."""


@dataclass(frozen=True)
class Column:
    """Declaration of a column: an annotation of a field of a row."""

    units: str
    """Unit of the number, "1" for a pure number; empty for text."""
    long_name: str
    summary: bool = False
    """True for a number stored in /summary of a result file."""


def scalar(units: str, long_name: str) -> Column:
    """Return the declaration of a column stored as a scalar in /summary."""
    return Column(units, long_name, summary=True)


@dataclass(frozen=True)
class Row:
    """Base of the rows: fields annotated with a `Column` are columns; others are not exported."""

    columns: ClassVar[Mapping[str, Column]] = {}
    """Columns by name, in order of the fields."""

    def __init_subclass__(cls) -> None:
        hints = get_type_hints(cls, include_extras=True)
        cls.columns = {
            name: note
            for name, hint in hints.items()
            for note in get_args(hint)
            if isinstance(note, Column)
        }

    def record(self) -> dict[str, Any]:
        """Return the columns by name, in order."""
        values = vars(self)
        return {name: values[name] for name in self.columns}

    def number(self, name: str) -> float:
        """Return the number in the named column."""
        return float(vars(self)[name])

    @classmethod
    def markdown(cls) -> str:
        """Return the columns as a table in Markdown; `*` marks those stored in /summary."""
        lines = ["| column | unit | meaning |", "|---|---|---|"]
        for name, column in cls.columns.items():
            mark = " *" if column.summary else ""
            lines.append(f"| `{name}`{mark} | {column.units} | {column.long_name} |")
        return "\n".join(lines)


@dataclass(frozen=True)
class TrainingRow(Row):
    """Run of bench.train: its settings and every number derived from its raw rows."""

    task: Annotated[str, Column("", "task with its options")]
    algorithm: Annotated[str, Column("", "algorithm with its options")]
    partition: Annotated[str, Column("", "partition with its options")]
    optimizer: Annotated[str, Column("", "optimiser with its options")]
    allreduce: Annotated[str, Column("", "all-reduce with its options")]
    metric_name: Annotated[str, Column("", "metric of the task")]
    eval_samples: Annotated[int, Column("1", "samples of an evaluation; 0 if unknown")]
    workers: Annotated[int, Column("1", "number of workers")]
    ranks: Annotated[int, Column("1", "number of ranks")]
    batch: Annotated[int, Column("1", "samples in a minibatch of a worker")]
    seed: Annotated[int, Column("1", "seed of all random draws")]
    steps: Annotated[int, scalar("1", "steps taken by a worker, mean over workers")]
    status: Annotated[str, Column("", "status of the run")]
    metric: Annotated[float, scalar("1", "final metric of the mean model")]
    metric_mean: Annotated[float, scalar("1", "final metric of a worker, mean over workers")]
    metric_worst: Annotated[float, scalar("1", "final metric of the worst worker")]
    since: Annotated[int, scalar("1", "steps from the last exchange to the end; -1 if unknown")]
    loss: Annotated[float, scalar("1", "final held-out loss of the mean model")]
    consensus: Annotated[float, scalar("1", "final consensus distance")]
    clock: Annotated[str, Column("", "clock of all times: wall, or model")]
    step_ms: Annotated[float, scalar("ms", "elapsed time over steps: whole cycles, slowest rank")]
    step_ms_ci_lo: Annotated[float, scalar("ms", "lower end of the 95 % interval of step_ms")]
    step_ms_ci_hi: Annotated[float, scalar("ms", "upper end of the 95 % interval of step_ms")]
    steps_per_s: Annotated[float, scalar("1/s", "steps per second: 1000 over step_ms")]
    samples_per_s: Annotated[float, scalar("1/s", "samples per second of all workers")]
    step_ms_p50: Annotated[float, scalar("ms", "median step on its slowest rank")]
    step_ms_lo: Annotated[float, scalar("ms", "lower end of the median step's 95 % interval")]
    step_ms_hi: Annotated[float, scalar("ms", "upper end of the median step's 95 % interval")]
    asynchronous: Annotated[bool, Column("", "true if ranks took steps at their own pace")]
    pace_fastest: Annotated[float, scalar("1/s", "steps per second of the fastest rank")]
    pace_slowest: Annotated[float, scalar("1/s", "steps per second of the slowest rank")]
    exchange_share: Annotated[float, scalar("1", "share of waiting and copying in the steps")]
    exchange_ms: Annotated[float, scalar("ms", "waiting and copying per step and rank, mean")]
    bubble: Annotated[float, scalar("1", "idle share of the stages' time; NaN without pipelines")]
    bytes_per_step: Annotated[float, scalar("B", "bytes sent to other workers per worker and step")]
    wire_bytes_per_step: Annotated[float, scalar("B", "part of bytes_per_step handed to MPI")]
    time_to_target_s: Annotated[float, scalar("s", "training time to --target; inf if missed")]
    steps_to_target: Annotated[float, scalar("1", "steps to --target; inf if missed")]
    samples_to_target: Annotated[float, scalar("1", "samples of all workers to --target")]
    bytes_to_target: Annotated[float, scalar("B", "bytes moved by all workers to --target")]
    elapsed_s: Annotated[float, scalar("s", "training time without evaluations")]
    s_per_sample: Annotated[float, scalar("s", "training time per sample of any worker")]
    threads: Annotated[int, Column("1", "threads of a rank")]
    nodes: Annotated[int, Column("1", "number of nodes")]
    hosts: Annotated[str, Column("", "number of hosts, and ranks of each")]
    mpi_library: Annotated[str, Column("", "name and version of the MPI library")]
    processor: Annotated[str, Column("", "processor of rank 0's host")]
    cores: Annotated[str, Column("", "cores of rank 0's host")]
    binding: Annotated[str, Column("", "cores available to a rank; empty if unknown")]
    arithmetic: Annotated[str, Column("", "instructions of torch, and variables that alter bits")]
    oversubscribed: Annotated[bool, Column("", "true if threads shared cores")]
    data_sha256: Annotated[str, Column("", "SHA-256 of --data; empty without")]
    inputs_sha256: Annotated[str, Column("", "SHA-256 of each other input by option")]
    spectral_gap: Annotated[float, Column("1", "spectral gap of the mixing matrix")]
    label_js: Annotated[float, Column("1", "label skew: normalised Jensen-Shannon divergence")]
    validation_metric: Annotated[float, Column("1", "final metric on the validation split")]
    validation_samples: Annotated[int, Column("1", "samples of the validation split; 0: none")]
    controller: Annotated[str, Column("", "controller with its options; empty without one")]
    answer: Annotated[str, Column("", "model that answers for a worker; empty without --answer")]
    answer_metric: Annotated[float, Column("1", "final metric of the answers on all samples, mean")]
    own_mean: Annotated[
        float, Column("1", "final metric on a worker's own data, mean over workers")
    ]
    own_worst: Annotated[float, Column("1", "final metric on its own data of the worst worker")]
    deaths: Annotated[int, Column("1", "deaths of workers, by --churn or --on-death leave")]
    returns: Annotated[int, Column("1", "returns of workers by --churn")]
    participation: Annotated[float, Column("1", "share of the workers alive, mean over steps")]
    parameters_sha256: Annotated[str, Column("", "SHA-256 of all workers' final parameters")]
    file: Annotated[str, Column("", "path of the result file")]


@dataclass(frozen=True)
class CollectiveRow(Row):
    """Algorithm at one size in bench.collectives, and the numbers derived from its calls."""

    algorithm: Annotated[str, Column("", "algorithm, or a yardstick beside it")]
    op: Annotated[str, Column("", "collective operation")]
    dtype: Annotated[str, Column("", "type of the elements")]
    chosen: Annotated[str, Column("", "algorithm picked by a selecting one; else empty")]
    count: Annotated[int, Column("1", "elements of the vector")]
    bytes: Annotated[int, Column("B", "size of the vector")]
    wrong: Annotated[int, Column("1", "wrong elements over all ranks; -1 if unchecked")]
    messages: Annotated[int, Column("1", "messages per call of the busiest rank; -1 if unknown")]
    bytes_sent: Annotated[int, Column("B", "bytes handed to MPI per call by the busiest rank")]
    n: Annotated[int, Column("1", "number of timed calls")]
    ranks: Annotated[int, Column("1", "number of ranks")]
    p50_us: Annotated[float, Column("us", "median call on its slowest rank")]
    ci_lo_us: Annotated[float, Column("us", "lower end of the median's 95 % interval")]
    ci_hi_us: Annotated[float, Column("us", "upper end of the median's 95 % interval")]
    p99_us: Annotated[float, Column("us", "99th percentile of the calls")]
    max_us: Annotated[float, Column("us", "longest call")]
    algbw_GBps: Annotated[float, Column("GB/s", "algorithm bandwidth: size over median")]
    busbw_GBps: Annotated[
        float, Column("GB/s", "bus bandwidth of nccl-tests; all-reduces: algbw 2(p - 1)/p")
    ]
    bound_percent: Annotated[
        float, Column("%", "lower bound of messages over median; NaN if unknown")
    ]
    flags: Annotated[str, Column("", "flags of the measurement: !, s, t, o, b")]
    vs_library: Annotated[float, Column("1", "median over that of the MPI library")]
    bound_us: Annotated[
        float, Column("us", "lower bound of the operation by messages; NaN if unknown")
    ]


@dataclass(frozen=True)
class ConsensusRow(Row):
    """Topology of bench.consensus, and the numbers derived from its rounds."""

    topology: Annotated[str, Column("", "topology with its options")]
    workers: Annotated[int, Column("1", "number of workers")]
    ranks: Annotated[int, Column("1", "number of ranks")]
    clock: Annotated[str, Column("", "clock of all times: wall, or model")]
    period: Annotated[int, Column("1", "rounds until the links repeat; 0 for random links")]
    degree_max: Annotated[int, Column("1", "largest number of out-neighbours in a round")]
    theory_factor: Annotated[float, Column("1", "contraction factor per round in theory")]
    measured_factor: Annotated[float, Column("1", "contraction factor per round, fitted")]
    factor_difference_percent: Annotated[float, Column("%", "measured over theoretical factor")]
    rate_difference_percent: Annotated[float, Column("%", "measured over theoretical rate")]
    rounds_to_1e3: Annotated[float, Column("1", "rounds to an error of 1e-3; inf if missed")]
    rounds_to_1e6: Annotated[float, Column("1", "rounds to an error of 1e-6; inf if missed")]
    bytes_to_1e6: Annotated[float, Column("B", "bytes sent per worker to an error of 1e-6")]
    ms_to_1e6: Annotated[float, Column("ms", "time to an error of 1e-6")]
    us_per_round_p50: Annotated[float, Column("us", "median round on its slowest rank")]
    us_per_round_lo: Annotated[float, Column("us", "lower end of the median's 95 % interval")]
    us_per_round_hi: Annotated[float, Column("us", "upper end of the median's 95 % interval")]
    rounds: Annotated[int, Column("1", "number of rounds")]
    reached: Annotated[int, Column("1", "1 if the error came down to the tolerance, else 0")]


@dataclass(frozen=True)
class SimulationRow(Row):
    """Case of bench.simulate, and the numbers derived from its steps."""

    algorithm: Annotated[str, Column("", "algorithm or pipeline with its options")]
    workers: Annotated[int, Column("1", "number of workers, or of stages of a pipeline")]
    stages: Annotated[int, Column("1", "number of stages of a pipeline; 0 for an algorithm")]
    clock: Annotated[str, Column("", "clock of all times: model")]
    engine: Annotated[str, Column("", "times of messages: model, or simgrid on a platform")]
    platform: Annotated[str, Column("", "network of the engine simgrid; empty for the model")]
    steps: Annotated[int, Column("1", "number of steps: whole periods of the exchanges")]
    step_ms: Annotated[float, Column("ms", "time of a step of the slowest worker")]
    model_step_ms: Annotated[float, Column("ms", "step_ms of the same case by the engine model")]
    compute_ms: Annotated[float, Column("ms", "time of a gradient, mean over workers and steps")]
    exposed_ms: Annotated[float, Column("ms", "waits for messages a step, mean over workers")]
    efficiency: Annotated[float, Column("1", "compute_ms over step_ms")]
    elapsed_s: Annotated[float, Column("s", "time of all steps of the slowest worker")]

    @property
    def unit(self) -> str:
        """Return what the case has a number of."""
        return "stages" if self.stages else "workers"


@dataclass(frozen=True)
class ChaosRow(Row):
    """Run of bench.chaos: a strategy under a plan of faults, and the numbers derived from it."""

    strategy: Annotated[str, Column("", "way to outlast faults; calm: the run without any")]
    plan: Annotated[int, Column("1", "plan of faults, counted from 1")]
    status: Annotated[str, Column("", "complete, or failed")]
    faults: Annotated[int, Column("1", "faults that struck")]
    launches: Annotated[int, Column("1", "number of launches by mpirun")]
    ranks_lost: Annotated[int, Column("1", "ranks that the other ranks lost")]
    steps: Annotated[int, Column("1", "steps of the run")]
    steps_lost: Annotated[int, Column("1", "steps that were computed again")]
    goodput: Annotated[float, Column("1", "steps of the run over all steps computed")]
    useful_share: Annotated[float, Column("1", "training time of the steps over elapsed_s")]
    elapsed_s: Annotated[float, Column("s", "time from the first evaluation to the last step")]
    detection_ms: Annotated[float, Column("ms", "time from a fault to its detection, median")]
    recovery_ms: Annotated[float, Column("ms", "time from a fault to the next step, median")]
    metric: Annotated[float, Column("1", "final metric of the mean model")]
    participation: Annotated[float, Column("1", "share of the workers in the steps, mean")]
    same_bits: Annotated[bool, Column("", "true if the parameters are those of the calm run")]


@dataclass(frozen=True)
class PipelineRow(Row):
    """Pipeline of bench.pipeline --measure, and the numbers derived from its steps."""

    pipeline: Annotated[str, Column("", "pipeline with its options")]
    schedule: Annotated[str, Column("", "pipeline without stages and microbatches")]
    stages: Annotated[int, Column("1", "number of stages")]
    microbatches: Annotated[int, Column("1", "micro-batches of a minibatch")]
    task: Annotated[str, Column("", "task with its options")]
    batch: Annotated[int, Column("1", "samples in a minibatch")]
    ranks: Annotated[int, Column("1", "number of ranks")]
    steps: Annotated[int, Column("1", "number of measured steps")]
    minibatch_ms: Annotated[float, Column("ms", "median minibatch on its slowest rank")]
    minibatch_ms_lo: Annotated[float, Column("ms", "lower end of the median's 95 % interval")]
    minibatch_ms_hi: Annotated[float, Column("ms", "upper end of the median's 95 % interval")]
    clock_ms: Annotated[
        float, Column("ms", "minibatch by the model clock with the measured passes and link")
    ]
    formula_ms: Annotated[
        float, Column("ms", "minibatch of equal stages with the mean passes, without latency")
    ]
    over_clock: Annotated[float, Column("1", "minibatch_ms over clock_ms")]
    bubble: Annotated[float, Column("1", "idle share of the time of all ranks")]
    clock_bubble: Annotated[float, Column("1", "the same by the model clock")]
    formula_bubble: Annotated[float, Column("1", "the same of equal stages without latency")]
    alone_ms: Annotated[float, Column("ms", "median minibatch on one rank")]
    together_ms: Annotated[float, Column("ms", "the same on every rank at once, the slowest rank")]
    speedup: Annotated[float, Column("1", "alone_ms over minibatch_ms")]
    bound: Annotated[float, Column("1", "speedup of equal stages without latency")]
    bound_together: Annotated[float, Column("1", "bound times alone_ms over together_ms")]
    theirs_ms: Annotated[float, Column("ms", "median minibatch by --against; NaN without")]
    over_theirs: Annotated[
        float, Column("1", "median of ours over theirs, step by step; NaN without")
    ]
    over_theirs_lo: Annotated[float, Column("1", "lower end of its 95 % interval")]
    over_theirs_hi: Annotated[float, Column("1", "upper end of its 95 % interval")]
    saved_bytes: Annotated[int, Column("B", "activations kept by the rank with the most, or -1")]
    saved_bytes_formula: Annotated[int, Column("B", "the same by the order of the passes")]
    versions: Annotated[
        int, Column("1", "versions of the parameters of the stage with the most; -1 if unknown")
    ]
    versions_formula: Annotated[int, Column("1", "the same by the order of the passes")]
    message_bytes: Annotated[int, Column("B", "largest message; 0: none, -1 if unknown")]
    message_ms: Annotated[float, Column("ms", "time of the largest message")]


def half_width(row: CollectiveRow) -> float:
    """Return the larger half-width of the median's interval as a fraction of the median."""
    p50 = row.p50_us
    return float(max(row.ci_hi_us - p50, p50 - row.ci_lo_us) / p50)


def smallest_medians(rows: Sequence[CollectiveRow]) -> str:
    """Return the smallest median of each range of sizes, as in `ring 1K-64K, tree 1M`."""
    best: dict[int, CollectiveRow] = {}
    for row in rows:
        other = best.setdefault(row.bytes, row)
        if row.p50_us < other.p50_us:
            best[row.bytes] = row
    runs: list[tuple[str, list[int]]] = []
    for nbytes, row in sorted(best.items()):
        if not runs or runs[-1][0] != row.algorithm:
            runs.append((row.algorithm, []))
        runs[-1][1].append(nbytes)
    return ", ".join(
        f"{name} {format_size(sizes[0])}" + (f"-{format_size(sizes[-1])}" if len(sizes) > 1 else "")
        for name, sizes in runs
    )
