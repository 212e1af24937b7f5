"""Options of a training run: the table behind the command line, config files and sweeps."""

import math
from dataclasses import dataclass

from bench.common.files import RESULTS
from bench.common.options import Table, check_name, check_ranges, option
from bench.common.spec import UserError, unknown_name
from bench.session.deadlines import FIXED_S, parse

DTYPES = ("float32", "float64")
BFLOAT16 = "bfloat16"
TYPES = (*DTYPES, BFLOAT16)
CPU, TENSORS, CUDA = DEVICES = ("cpu", "cpu:rows=torch", "cuda")
BF16 = "bf16"
"""Value of --wire: rows travel as bfloat16."""
WRITERS = ("one", "node", "rank")
WALL, MODEL = CLOCKS = ("wall", "model")
MEAN, ENSEMBLE, BEST, NICHE = ANSWERS = ("mean", "ensemble", "best", "niche")
PERIOD, STEP = EVAL_AT = ("period", "step")

ADOPT, LEAVE = "adopt", "leave"
"""Names of --on-death."""
LOOP = "script"
"""Name among the sources of a result of the script whose loop wrote it; see bench.loop."""
SPEC = "NAME[:KEY=VALUE,...]"
MODELS = ("mean.pt", "best.pt", "mean.safetensors", "best.safetensors")
"""Values of --save-model: the model, and the format of its file."""


def two_lengths(epochs: float, steps: int) -> UserError:
    """Return the error for a run with both --epochs and --steps."""
    return UserError(
        f"--epochs {epochs:g} and --steps {steps} both determine the length of the run: leave one "
        "of them out"
    )


@dataclass(frozen=True)
class TrainOptions:
    """The options of bench.train; those marked `aside` leave the numbers of the run unchanged."""

    task: str = option("digits", "problem to learn", SPEC)
    data: str = option(
        "",
        "file or folder that the task reads; CSV: PATH:label=COLUMN names the label, by name or by "
        "number from 0, -1 is the last, and header=true or false tells of a line of names",
        "PATH",
    )
    algorithm: str = option("allreduce_sgd", "how workers exchange", SPEC)
    pipeline: str = option(
        "",
        "cut each worker's model into stages, computed by a pipeline over the ranks: "
        "1f1b:stages=4,microbatches=8",
        SPEC,
    )
    staleness: str = option(
        "",
        "gradients at stale slices of the parameters, as those of --pipeline "
        "pipedream:stages=8, for any number of workers",
        SPEC,
        later=True,
    )
    partition: str = option("iid", "how the data are separated", SPEC)
    optimizer: str = option("sgd:lr=0.1", "local optimiser of every worker", SPEC)
    schedule: str = option(
        "",
        "learning rate as a function of the step: cosine:warmup=50, linear or "
        "step:every=100,factor=0.1; default: constant",
        SPEC,
        later=True,
    )
    clip: float | None = option(
        None,
        "largest norm of each worker's gradient, which is scaled down to it before the exchange",
        "X",
        later=True,
    )
    controller: str = option("fixed", "decides options of the algorithm while training", SPEC)
    allreduce: str = option(
        "recursive_doubling", "all-reduce behind every mean, a name of `bench list`", "NAME"
    )
    workers: int = option(
        0, "workers in all, dealt evenly to the ranks; 0: one a rank", "W", least=0
    )
    steps: int = option(400, "training steps", "N", least=1)
    epochs: float | None = option(
        None,
        "training steps, in epochs of the mean shard, in place of --steps",
        "N",
        later=True,
    )
    batch: int = option(16, "samples per worker and step", "B", least=1)
    accumulate: int = option(
        1,
        "batches of --batch samples whose gradients a step adds up, in the memory of one",
        "N",
        least=1,
        later=True,
    )
    seed: int = option(
        0, "seed of the start, minibatches, partition and random peers", "S", least=0
    )
    dtype: str = option("float32", "type of parameters and data", "TYPE", choices=TYPES)
    device: str = option(
        CPU, "device of rows and their arithmetic", "DEVICE", choices=DEVICES, later=True
    )
    eval_every: int = option(50, "steps between evaluations, which are not timed", "N", least=1)
    eval_at: str = option(
        PERIOD,
        "end of a run and of evaluations: at the end of a period of the algorithm, after its "
        "exchange, or at any step",
        "WHEN",
        choices=EVAL_AT,
    )
    validation: float = option(
        0.0,
        "fraction of the training samples held out for choices among options, the same in every "
        "run; see bench.report --best",
        "FRACTION",
        later=True,
    )
    answer: str = option(
        "",
        "model that answers for each worker, scored on the worker's own data as well: mean, the "
        "mean model; ensemble, the mean softmax of all models; best, the model with the smallest "
        "loss on the worker's part of --validation; niche, the worker's own; default: the mean "
        "model, without own data",
        "MODEL",
        later=True,
    )
    target: float | None = option(None, "stop when the mean model's metric reaches this", "X")
    patience: int = option(
        0,
        "stop after so many evaluations in a row without a better metric of the mean model, that "
        "of --validation if given; 0: never",
        "N",
        least=0,
        later=True,
    )
    wire: str = option(
        "",
        "type of rows on their way between workers: bf16, rounded to bfloat16 for half the bytes; "
        "default: as they are",
        "TYPE",
        later=True,
    )
    warmup: int = option(10, "first steps, left out of the time statistics", "N", least=0)
    straggler: str = option(
        "", "slow workers on purpose: worker=3,factor=5 or probability=0.05,delay=50ms", "KEY=VALUE"
    )
    drop: float = option(0.0, "fraction of the messages between workers that is lost", "P")
    loss_bursts: str = option(
        "",
        "lost messages in bursts: bad=0.01,good=0.2,loss=0.5, probabilities a round that a link "
        "becomes bad and good again, and of a loss while it is bad",
        "KEY=VALUE",
        later=True,
    )
    churn: str = option(
        "",
        "workers that die and return: mtbf=1000steps,rejoin=50steps, or in seconds of --clock "
        "model; start=mean or neighbour, shards=lost or dealt, least=1",
        "KEY=VALUE",
        later=True,
    )
    link: str = option(
        "",
        "slow links: latency=2ms,bandwidth=10MB/s, or ethernet_1g, ethernet_25g, infiniband_ndr, "
        "internet_100m",
        "KEY=VALUE",
    )
    clock: str = option(
        WALL,
        "clock of all times of the run: wall, or model for times that --compute, --straggler and "
        "--link determine, with one machine per worker, while nothing sleeps",
        "CLOCK",
        choices=CLOCKS,
    )
    compute: str = option(
        "",
        "duration of a gradient under --clock model: 10ms,noise=lognormal:0.2; default: the median "
        "on this machine",
        "TIME[,KEY=VALUE]",
    )
    threads: int = option(
        0, "threads per rank; 0: OMP_NUM_THREADS, or the rank's cores", "N", least=0
    )
    ranks: int = option(
        0, "refuse to run on another number of ranks; 0: any", "N", least=0, aside=True
    )
    out: str = option("runs", "folder of the result file", "DIR", aside=True)
    name: str = option("", "name of the result file, without .h5", "NAME", aside=True)
    overwrite: bool = option(False, "replace a result file of the same name", aside=True)
    launches: int = option(
        1,
        "runs in the same processes, with everything else built anew, as NAME, NAME-2, NAME-3, "
        "...; without --name, starting the program again takes the next of these names, in new "
        "processes",
        "N",
        least=1,
        aside=True,
    )
    flush_every: int = option(100, "steps between writes of the result", "N", least=1, aside=True)
    writers: str = option(
        "one",
        "ranks that write the steps: rank 0 alone, or one per node or each rank into files to be "
        "merged",
        "WHO",
        choices=WRITERS,
        aside=True,
    )
    checkpoint_every: int = option(
        0,
        "steps between checkpoints; 0: only when SIGTERM or SIGUSR1 asks the run to end",
        "N",
        least=0,
        aside=True,
    )
    resume: bool = option(
        False,
        "resume from the last checkpoint if there is one, else begin; keep a finished result",
        aside=True,
    )
    watchdog: str = option(
        str(FIXED_S),
        "seconds without a step until the job ends and names the rank; auto: adaptive; 0: never",
        "S",
        aside=True,
    )
    on_death: str = option(
        "", "where a rank dies: adopt its workers, or leave[:shards=dealt]", "WHAT", aside=True
    )
    protect_every: int = option(
        0, "steps between these copies; 0: take a fiftieth of the time", "N", least=0, aside=True
    )
    save_model: str = option(
        "",
        "save the mean model of the end or of the best evaluation beside the result, as "
        f"NAME.MODEL: {', '.join(MODELS)}",
        "MODEL",
        aside=True,
    )
    jsonl: str = option(
        "", "file to which a line of JSON is appended at every evaluation", "FILE", aside=True
    )
    tensorboard: str = option(
        "", "folder for events of TensorBoard, one folder a run below it", "DIR", aside=True
    )
    verbose: bool = option(
        False, "print every measure of the separation before the first step", aside=True
    )
    trace: int = option(
        0,
        "steps after the warm-up of which every phase and message is recorded",
        "N",
        least=0,
        aside=True,
    )
    repeat: str = option("", "run again exactly as a result file records", "FILE.h5", aside=True)

    def __post_init__(self) -> None:
        from algorithms.collectives import ALLREDUCES  # not at the top: --help needs no numpy

        check_ranges(self)
        if self.allreduce not in ALLREDUCES:
            raise unknown_name("allreduce", self.allreduce, ALLREDUCES)
        if self.target is not None and not math.isfinite(self.target):
            raise UserError(f"--target must be finite, got {self.target}")
        for name, value, default in (
            ("--epochs", self.epochs, "--steps"),
            ("--clip", self.clip, "no clipping"),
        ):
            if value is not None and not 0 < value < math.inf:
                rule = f"{name} must be > 0 and finite, got {value:g}"
                raise UserError(f"{rule}: leave it out for {default}")
        if self.epochs and self.steps != type(self).steps:
            raise two_lengths(self.epochs, self.steps)
        parse(self.watchdog)
        if self.wire and self.wire != BF16:
            raise unknown_name("wire", self.wire, [BF16])
        if self.save_model and self.save_model not in MODELS:
            raise UserError(
                f"--save-model must be one of {', '.join(MODELS)}, got {self.save_model}: the file "
                "is beside the result and has its name before this one"
            )
        if not 0 <= self.validation < 1:
            raise UserError(
                f"--validation must be in [0, 1), got {self.validation:g}: 0.2 holds out a fifth "
                "of the training samples"
            )
        if self.name.endswith(RESULTS):
            raise UserError(f"--name is without .h5, which is added, got {self.name!r}")
        if self.compute and self.clock != MODEL:
            raise UserError(
                f"--compute {self.compute} is the time of a gradient under the model clock: add "
                "--clock model, or leave --compute out"
            )
        check_name(self.name)

    @property
    def host_dtype(self) -> str:
        """Type of rows and data in arrays of NumPy: float32 for bfloat16."""
        return DTYPES[0] if self.dtype == BFLOAT16 else self.dtype

    @property
    def minibatch(self) -> int:
        """Samples per worker and step: --batch times --accumulate."""
        return self.batch * self.accumulate


TABLE = Table(
    TrainOptions,
    prog="python -m bench.train",
    description="Train a task with one algorithm on one partition, on the ranks of mpirun.",
    epilog="`python -m bench list` shows every name with its options. Example: mpirun -n 4 "
    "python -m bench.train --task digits --algorithm push_sum:topology=ring "
    "--partition dirichlet:alpha=0.1 --workers 64",
    file=True,
)
