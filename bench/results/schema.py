"""HDF5 schema of result files: murmuration-timing 1.10.

A run writes one file. During the run its name is NAME.h5.part, and every flush renames a complete
copy, so a complete HDF5 file exists at any time. At the end it is renamed to NAME.h5.

    /                  attributes: settings (see bench.runtime.opening), status, results
    /train             step, rank, phase: dimension scales; start_ns, phase_ns, bytes_sent,
                       bytes_copied, messages, loss, flags
    /segments          index: dimension scale; first, steps: steps between two evaluations
    /eval              index: dimension scale; step, samples, elapsed_ns, loss, metric,
                       metric_mean, metric_worst, consensus, since; with --validation also
                       validation_loss, validation_metric; with --answer also answer_metric,
                       own_mean, own_worst
    /partition         worker, class: dimension scales; counts, and by worker size, label_tv,
                       hellinger, effective_classes, missing_classes, and, if the task supports
                       them, feature_distance, neighbourhood_tv, gradient_zeta2
    /workers           worker: dimension scale; final loss and metric of every worker;
                       with --answer own_metric; group where the algorithm forms some
    /clock             sync, rank: dimension scales; read_ns, offset_ns, round_trip_ns
    /attempts          attempt: dimension scale; start and host of the run and of each resumption
    /lost              death: dimension scale; with --on-death the ranks that died, and recoveries
    /homes             epoch, worker: dimension scales; the rank of each worker since a death
    /events            event: dimension scale; single phases and messages of runs with --trace
    /decisions         index, arm_name: dimension scales; with --controller the choices, rewards and
                       posteriors, see bench.results.decisions
    /epochs            index: dimension scale; with --churn every death and return of a worker, see
                       bench.results.epochs
    /summary           scalars: the derived numbers, for readers without this suite
    /pipeline          rank: dimension scale; with --pipeline memory for activations and versions of
                       the parameters, measured and by formula
    /provenance/ranks  rank: dimension scale; host, pid, threads, cpu_mask, instructions
    /provenance/text   scalar strings: environment (an allow-list), packages, machine, MPI

Scales are in the group that uses them: readers of netCDF-4 such as xarray look for dimensions in
the group and its parents. Every numeric dataset has `units`, every text `_Encoding`.
"""

import json
from collections.abc import Mapping
from typing import Any, TypeAlias

Table: TypeAlias = Mapping[str, tuple[str, str, str]]
"""Dtype, units and long_name of each dataset of a group with one dimension."""

SCHEMA = "murmuration-timing"
VERSION = "1.10"

PART = "bench.train.part"
"""Program name in a file with the steps of some ranks only, see bench.merge."""

RUNNING, COMPLETE, DIVERGED, FAILED = "running", "complete", "diverged", "failed"
PREEMPTED = "preempted"
"""Status of a run that was stopped by a signal, wrote a checkpoint and can be resumed."""
DIED = "died"
"""Status that a reader reports for a running file without its writer; never stored."""

WALL, MODEL = "wall", "model"
"""Clocks of the times of a run. The attribute `clock` of a file is MODEL under the model clock, and
names the clock of the machine otherwise."""
SIMGRID = "simgrid"
"""Engine of bench.simulate that plays messages on a network of SimGrid, instead of MODEL."""

WARMUP, EVALUATED = 1, 2
"""Bits of /train/flags: a warm-up step; the first step after an evaluation and a flush."""

NOT_TAKEN = -1
"""Value of start_ns for a missing step. Ranks of an asynchronous algorithm take steps at their own
pace; a segment between two evaluations has as many rows as the fastest rank has steps."""

TRAIN = {
    "start_ns": (("step", "rank"), "i8", "ns", "start of the step, clock of the rank"),
    "phase_ns": (
        ("step", "rank", "phase"),
        "i8",
        "ns",
        "time by phase; the sum is the step",
    ),
    "bytes_sent": (("step", "rank"), "i8", "B", "bytes handed to MPI for other ranks"),
    "bytes_copied": (("step", "rank"), "i8", "B", "bytes read from other workers through memory"),
    "messages": (("step", "rank"), "i8", "1", "messages handed to MPI"),
    "loss": (("step", "rank"), "f8", "1", "mean minibatch loss of the rank's workers"),
    "flags": (("step",), "u1", "1", "bits: 1 warm-up, 2 first after an evaluation or flush"),
}
"""Dimensions, dtype, units and long_name of each dataset of /train."""

SEGMENTS: Table = {
    "first": ("i8", "1", "number of the first step of the segment"),
    "steps": ("i8", "1", "rows of the segment in /train: steps of the fastest rank"),
}

EVAL: Table = {
    "step": ("i8", "1", "steps taken"),
    "samples": ("i8", "1", "samples seen by all workers"),
    "elapsed_ns": ("i8", "ns", "training time of the slowest rank, without evaluations"),
    "loss": ("f8", "1", "held-out loss of the mean model"),
    "metric": ("f8", "1", "metric of the mean model"),
    "metric_mean": ("f8", "1", "metric of a worker, mean over workers"),
    "metric_worst": ("f8", "1", "metric of the worst worker"),
    "consensus": ("f8", "1", "consensus distance: root mean square over workers |x_i - x|"),
}

EVAL_SINCE: Table = {
    "since": ("i8", "1", "steps since the last exchange of parameters; -1 if unknown"),
}
"""Datasets of /eval since version 1.5."""
VALIDATION: Table = {
    "validation_loss": ("f8", "1", "loss of the mean model on the validation split"),
    "validation_metric": ("f8", "1", "metric of the mean model on the validation split"),
}
"""Datasets of /eval in files of runs with --validation, whose attribute validation_samples is the
number of samples of the split."""
ANSWER: Table = {
    "answer_metric": ("f8", "1", "metric of the answers on all held-out samples, mean"),
    "own_mean": ("f8", "1", "metric of a worker's answer on its own data, mean over workers"),
    "own_worst": ("f8", "1", "metric of the answer on its own data, worst worker"),
}
"""Datasets of /eval in files of runs with --answer, which is the attribute answer."""


def eval_options(attributes: Mapping[str, Any]) -> Table:
    """Return the datasets of /eval of the options of a run, --validation and --answer."""
    validation = VALIDATION if "validation_samples" in attributes else {}
    return {**validation, **(ANSWER if "answer" in attributes else {})}


ATTRIBUTES: Mapping[type, frozenset[str]] = {
    str: frozenset(
        [
            "schema",
            "schema_version",
            "status",
            "reason",
            "created_utc",
            "closed_utc",
            "program",
            "host",
            "pid_started",
            "suite_version",
            "task",
            "algorithm",
            "partition",
            "optimizer",
            "controller",
            "answer",
            "device",
            "allreduce",
            "allreduce_chosen",
            "metric_name",
            "metric_direction",
            "params_json",
            "argv_json",
            "case_hash",
            "run_uuid",
            "binding_flaws",
            "sync",
            "clock",
            "engine",
            "platform",
            "parameters_sha256",
            "data_sha256",
            "pipeline",
            "schedule",
            "against",
        ]
    ),
    int: frozenset(
        [
            "workers",
            "ranks",
            "batch",
            "seed",
            "pid",
            "threads_per_rank",
            "nodes",
            "parts",
            "attempt",
            "attempt_row",
            "attempt_sync",
            "steps_before",
            "exchange_interval",
            "exchange_cycle",
            "eval_samples",
            "validation_samples",
            "launch",
            "dimension",
            "parameters",
            "steps_planned",
            "deaths",
            "returns",
            "protected",
            "ranks_lost",
            "stages",
            "microbatches",
            "columns",
            "message_bytes",
        ]
    ),
    float: frozenset(
        [
            "target",
            "target_reached",
            "patience_ended",
            "wire_error",
            "alpha_ns",
            "bandwidth_Bps",
            "memory_Bps",
            "timer_ns",
            "ci",
            "time_s",
            "alpha_spread",
            "bandwidth_spread",
            "tolerance",
            "spectral_gap",
            "label_js",
            "label_tv_max",
            "compute_s",
            "participation",
            "protection_s",
            "clock_ns",
            "clock_bubble",
            "formula_ns",
            "formula_bubble",
            "message_ns",
        ]
    ),
}
"""Names of attributes by type; a number may be stored as an integer."""
COUNTS = frozenset(["steps", "batch", "seed", "eval_every", "warmup", "workers", "threads"])
"""Names in params_json of integers."""
SETTINGS = COUNTS | frozenset(
    [
        "task",
        "data",
        "algorithm",
        "partition",
        "optimizer",
        "epochs",
        "schedule",
        "clip",
        "patience",
        "accumulate",
        "wire",
        "controller",
        "pipeline",
        "staleness",
        "allreduce",
        "dtype",
        "device",
        "eval_at",
        "target",
        "straggler",
        "drop",
        "loss_bursts",
        "link",
        "churn",
        "validation",
        "answer",
        "clock",
        "compute",
        "engine",
        "platform",
    ]
)
"""Names in params_json of one text or number."""
CONTAINERS: Mapping[str, type] = {"options": dict, "sources": dict, "topologies": list}
"""Types of names in params_json that hold several values."""


def clock_of(attributes: Mapping[str, Any]) -> str:
    """Return the clock of all times of a run, WALL or MODEL."""
    return MODEL if attributes.get("clock") == MODEL else WALL


def engine_of(attributes: Mapping[str, Any]) -> str:
    """Return the engine of the times of bench.simulate, SIMGRID or MODEL."""
    return SIMGRID if attributes.get("engine") == SIMGRID else MODEL


def check_attributes(attributes: Mapping[str, Any]) -> None:
    """Check the types of known attributes and of known names in params_json.

    A file may have other attributes of any type, which nothing reads. Errors: ValueError.
    """
    words = {str: "one text", int: "one integer", float: "one number"}
    for kind, names in ATTRIBUTES.items():
        for name in names & attributes.keys():
            if not isinstance(attributes[name], (int, float) if kind is float else kind):
                raise ValueError(f"attribute {name} is not {words[kind]}")
    if "params_json" in attributes:
        _check_params(attributes["params_json"])


def _check_params(text: str) -> None:
    """Check the types in params_json. Errors: ValueError."""
    try:
        params = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("attribute params_json is not JSON") from None
    if not isinstance(params, dict):
        raise ValueError("attribute params_json is not a JSON object")
    for name, value in params.items():
        kind = int if name in COUNTS else str | int | float if name in SETTINGS else object
        if value is not None and not isinstance(value, CONTAINERS.get(name, kind)):
            raise ValueError(f"{name} in params_json has another type than in a result")
    if not all(isinstance(x, dict) for x in (params.get("options") or {}).values()):
        raise ValueError("options in params_json has another type than in a result")


DTYPES: Mapping[str, Mapping[str, str]] = {
    "train": {name: dtype for name, (_, dtype, *_) in TRAIN.items()},
    "eval": {name: dtype for name, (dtype, *_) in {**EVAL, **EVAL_SINCE, **VALIDATION}.items()},
    "provenance/ranks": {"host": "S", "cpu_mask": "S"},
}
"""Dtypes of the columns of training files by group and name."""
