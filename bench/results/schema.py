"""HDF5 schema of result files: murmuration-timing 1.4.

One file a run. While it runs the file is NAME.h5.part, replaced whole at every flush by rename, so
that whoever dies, and whenever, a complete HDF5 file is there; at the end it becomes NAME.h5.

    /                  attributes: what ran (see bench.runtime.opening), status, results
    /train             step, rank, phase: dimension scales; start_ns, phase_ns, bytes_sent,
                       bytes_copied, messages, loss, flags
    /segments          index: dimension scale; first, steps: what was trained at a stretch
    /eval              index: dimension scale; step, samples, elapsed_ns, loss, metric,
                       metric_mean, metric_worst, consensus
    /partition         worker, class: dimension scales; counts, and by worker size, label_tv,
                       hellinger, effective_classes, missing_classes, and where they can be
                       measured feature_distance, neighbourhood_tv, gradient_zeta2
    /workers           worker: dimension scale; loss, metric of every worker at the end
    /clock             sync, rank: dimension scales; read_ns, offset_ns, round_trip_ns
    /attempts          attempt: dimension scale; when and where the run was begun and went on
    /events            event: dimension scale; phases and messages one by one, where --trace asks
    /summary           scalars: the derived numbers, for whoever reads without this suite
    /provenance/ranks  rank: dimension scale; host, pid, threads, cpu_mask
    /provenance/text   scalar strings: environment (an allow-list), packages, machine, MPI

Scales live in the group that uses them: what reads netCDF-4, xarray for one, finds dimensions in
the group or above it, never beside it. Every numeric dataset has `units`.
"""

from collections.abc import Mapping
from typing import TypeAlias

Table: TypeAlias = Mapping[str, tuple[str, str, str]]
"""Dataset -> dtype, units, long_name; all along one dimension."""

SCHEMA = "murmuration-timing"
VERSION = "1.4"

PART = "bench.train.part"
"""The program of a file that holds nothing but steps of some ranks, see bench.merge."""

RUNNING, COMPLETE, DIVERGED, FAILED = "running", "complete", "diverged", "failed"
PREEMPTED = "preempted"
"""Of a run that was asked to end, kept a checkpoint, and waits to go on."""
DIED = "died"
"""What a reader says of a running file whose writer is gone; never written."""

WARMUP, EVALUATED = 1, 2
"""Bits of /train/flags: a step of the warm-up; an evaluation and a flush came before this step."""

NOT_TAKEN = -1
"""start_ns where a rank took no such step: ranks of an asynchronous algorithm go at their own pace,
and a segment between two evaluations has as many rows as the fastest took steps."""

TRAIN = {
    "start_ns": (("step", "rank"), "i8", "ns", "start of the step, clock of the rank"),
    "phase_ns": (("step", "rank", "phase"), "i8", "ns", "time by phase; they add up"),
    "bytes_sent": (("step", "rank"), "i8", "B", "handed to MPI for other ranks"),
    "bytes_copied": (("step", "rank"), "i8", "B", "read from other workers through memory"),
    "messages": (("step", "rank"), "i8", "1", "messages handed to MPI"),
    "loss": (("step", "rank"), "f8", "1", "mean minibatch loss of the rank's workers"),
    "flags": (("step",), "u1", "1", "bits: 1 warm-up, 2 first after an evaluation or flush"),
}
"""Dataset -> dimensions, dtype, units, long_name."""

SEGMENTS: Table = {
    "first": ("i8", "1", "number of its first step"),
    "steps": ("i8", "1", "rows of /train that it has: steps of the fastest rank"),
}

EVAL: Table = {
    "step": ("i8", "1", "steps taken"),
    "samples": ("i8", "1", "samples seen by all workers"),
    "elapsed_ns": ("i8", "ns", "training time, evaluations left out, of the slowest rank"),
    "loss": ("f8", "1", "held-out loss of the mean model"),
    "metric": ("f8", "1", "metric of the mean model"),
    "metric_mean": ("f8", "1", "mean over workers of each one's metric"),
    "metric_worst": ("f8", "1", "metric of the worst worker"),
    "consensus": ("f8", "1", "consensus distance: root mean square over workers |x_i - x|"),
}
