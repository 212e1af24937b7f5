"""Reader of training results, and the numbers derived from their raw rows."""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.meter import COPY, PHASES, PIPELINE_PHASES, WAIT
from bench.results import contents, epochs
from bench.results.claims import process_start
from bench.results.environment import Arithmetic, Environment, arithmetic, environment, input_sums
from bench.results.guard import BrokenFileError, brief
from bench.results.rows import TrainingRow
from bench.results.schema import (
    ANSWER,
    COMPLETE,
    DIED,
    DIVERGED,
    EVAL,
    EVAL_SINCE,
    NOT_TAKEN,
    RUNNING,
    SCHEMA,
    TRAIN,
    VALIDATION,
    VERSION,
    WARMUP,
    clock_of,
)
from bench.results.statistics import Interval, bubble_share, mean_interval, median_interval

NAMES = ("task", "algorithm", "partition", "optimizer", "allreduce", "metric_name")
NUMBERS = ("workers", "ranks", "batch", "seed")


@dataclass(frozen=True)
class Run:
    """Result file of bench.train in memory."""

    path: Path
    attributes: dict[str, Any]
    train: dict[str, NDArray[Any]]
    """Datasets of /train: step, start_ns, phase_ns, ...; see bench.results.schema."""
    evals: dict[str, NDArray[Any]]
    partition: dict[str, NDArray[Any]]
    workers: dict[str, NDArray[Any]]
    ranks: dict[str, NDArray[Any]]
    texts: dict[str, str]

    @property
    def status(self) -> str:
        """Return the status; `died` for a running file without its writer process on this host."""
        status = str(self.attributes["status"])
        if status == RUNNING and self.attributes["host"] == socket.gethostname():
            started = process_start(int(self.attributes["pid"]))
            return status if started == self.attributes["pid_started"] else DIED
        return status

    @property
    def params(self) -> dict[str, Any]:
        """Return the resolved parameters."""
        params: dict[str, Any] = json.loads(self.attributes["params_json"])
        return params

    @property
    def timed(self) -> NDArray[np.bool_]:
        """Return the mask of timed steps, (steps,): those after the warm-up, or all if none are."""
        warm: NDArray[np.bool_] = (self.train["flags"] & WARMUP) == 0
        return warm if warm.any() else ~warm

    @property
    def cycle(self) -> int:
        """Return the steps after which the exchanges repeat; 1 in files before version 1.5."""
        return max(1, int(self.attributes.get("exchange_cycle", 1)))

    @cached_property
    def cycle_mask(self) -> NDArray[np.bool_]:
        """Return the mask of the timed steps in whole cycles, (steps,), or in any without one."""
        rows = np.flatnonzero(self.timed)
        mask = np.zeros(len(self.timed), bool)
        mask[rows[: len(rows) // self.cycle * self.cycle or None]] = True
        return mask

    def step_time(self) -> Interval:
        """Return the elapsed time over the number of steps and its interval, ns.

        Both are of the timed steps in whole cycles. The time is that of the rank with the largest
        sum. For asynchronous ranks the number of steps is that of all workers divided by W. The
        interval is that of the mean step of this rank, relative to its mean.
        """
        spent, steps = self.train["phase_ns"][self.cycle_mask].sum(2), self.cycle_steps()
        if not steps:
            return math.nan, math.nan, math.nan
        rank = int(spent.sum(0).argmax())
        own = spent[self.step_mask()[self.cycle_mask][:, rank], rank]
        step = float(own.sum()) / steps
        mean, low, high = mean_interval(own, self.cycle)
        scale = step / mean if mean else math.nan
        return step, scale * low, scale * high

    def cycle_steps(self) -> float:
        """Return the steps in whole cycles; for asynchronous ranks their mean over the workers."""
        steps = self.step_mask()[self.cycle_mask].sum(0) @ self.workers_per_rank()
        return float(steps) / max(1, int(self.attributes["workers"]))

    def phase_ms(self) -> dict[str, float]:
        """Return the time per step in each phase, mean over ranks, ms; NaN without steps."""
        spent, steps = self.train["phase_ns"][self.cycle_mask], self.cycle_steps()
        if not steps:
            return dict.fromkeys(PIPELINE_PHASES[: spent.shape[2]], math.nan)
        mean = spent.sum(0).mean(0) / steps / 1e6
        return dict(zip(PIPELINE_PHASES[: len(mean)], mean.tolist(), strict=True))

    def step_ns(self) -> NDArray[np.int64]:
        """Return the duration of each step on its slowest rank, (timed steps,), ns."""
        slowest: NDArray[np.int64] = self.train["phase_ns"][self.timed].sum(2).max(1, initial=0)
        return slowest

    def phase_share(self) -> dict[str, float]:
        """Return the share of each phase in the steps; NaN without steps."""
        ms = self.phase_ms()
        total = sum(ms.values())
        return {name: x / total if total else math.nan for name, x in ms.items()}

    def worker_steps(self) -> int:
        """Return the number of steps summed over all workers."""
        return int(self.step_mask().sum(0) @ self.workers_per_rank())

    def workers_per_rank(self) -> NDArray[np.int64]:
        """Return the number of workers of each rank, (ranks,)."""
        workers, ranks = int(self.attributes["workers"]), int(self.attributes["ranks"])
        return np.diff([r * workers // ranks for r in range(ranks + 1)])

    def step_mask(self) -> NDArray[np.bool_]:
        """Return the mask of the steps taken by each rank, (steps, ranks)."""
        return np.asarray(self.train["start_ns"] != NOT_TAKEN)

    def exchange_ms(self) -> float:
        """Return the mean exposed exchange time per step and rank: waiting and copying, ms."""
        exchange_ns = self.train["phase_ns"][self.cycle_mask][:, :, [COPY, WAIT]].sum()
        n = int(self.step_mask()[self.cycle_mask].sum())
        return float(exchange_ns) / 1e6 / n if n else math.nan

    def pace(self) -> NDArray[np.float64]:
        """Return the steps per second of each rank in its timed steps, (ranks,)."""
        spent = self.train["phase_ns"][self.timed].sum(2)
        counts = self.step_mask()[self.timed].sum(0)
        seconds = spent.sum(0) / 1e9
        return np.asarray(counts / np.where(seconds > 0, seconds, np.inf))

    def bytes_per_step(self) -> tuple[float, float]:
        """Return the bytes sent per worker and step: in total, and through MPI."""
        steps = self.worker_steps() * epochs.participation(self.attributes)
        if not steps:
            return math.nan, math.nan
        sent, copied = (float(self.train[key].sum()) for key in ("bytes_sent", "bytes_copied"))
        return (sent + copied) / steps, sent / steps

    def to_target(self) -> dict[str, Any]:
        """Return the time, steps, samples and bytes to the target.

        They are infinite if the target was missed, and NaN if the run was not finished.
        """
        names = ("time_to_target_s", "steps_to_target", "samples_to_target", "bytes_to_target")
        if "target" not in self.attributes:
            return dict.fromkeys(names, math.nan)
        if not self.attributes.get("target_reached", False):
            missed = self.status in (COMPLETE, DIVERGED)
            return dict.fromkeys(names, math.inf if missed else math.nan)
        at = {key: float(self.evals[key][-1]) for key in ("elapsed_ns", "step", "samples")}
        nbytes = (self.bytes_per_step()[0] * at["step"]) * int(self.attributes["workers"])
        return dict(
            zip(names, (at["elapsed_ns"] / 1e9, at["step"], at["samples"], nbytes), strict=True)
        )

    def environment(self) -> Environment:
        """Return the machine and the software that the run used."""
        return environment(self.attributes, self.ranks, self.texts)

    def arithmetic(self) -> Arithmetic:
        """Return the properties that decide the rounding of results."""
        return arithmetic(self.attributes, self.ranks, self.texts)

    def row(self) -> TrainingRow:
        """Return the settings of the run and every number derived from its raw rows."""
        about: dict[str, Any] = {name: self.attributes[name] for name in NAMES}
        about |= {name: int(self.attributes[name]) for name in NUMBERS}
        since = self.evals.get("since", np.empty(0, np.int64))
        before = int(self.attributes.get("steps_before", 0))  # resumed on other ranks: other file
        names = ("metric", "metric_mean", "metric_worst", "loss", "consensus", "validation_metric")
        columns = {name: self.evals.get(name, np.empty(0)) for name in (*names, *ANSWER)}
        final: dict[str, Any] = {
            name: float(column[-1]) if len(column) else math.nan for name, column in columns.items()
        }
        step, step_lo, step_hi = (ns / 1e6 for ns in self.step_time())
        steps_per_s = 1e3 / step if step else math.nan
        p50, lo, hi = (ns / 1e6 for ns in median_interval(self.step_ns()))
        share, pace, place = self.phase_share(), self.pace(), self.environment()
        alive = epochs.participation(self.attributes)
        elapsed, samples = self.evals["elapsed_ns"], self.evals["samples"]
        elapsed_s = float(elapsed[-1]) / 1e9 if len(elapsed) else math.nan
        samples_seen = float(samples[-1]) if len(samples) else 0.0
        return TrainingRow(
            **about,
            **final,
            **self.to_target(),
            clock=clock_of(self.attributes),
            since=int(since[-1]) if len(since) else -1,
            steps=self.worker_steps() // max(1, about["workers"]) + before,
            status=self.status,
            step_ms=step,
            step_ms_ci_lo=step_lo,
            step_ms_ci_hi=step_hi,
            steps_per_s=steps_per_s,
            samples_per_s=steps_per_s * about["workers"] * alive * about["batch"],
            step_ms_p50=p50,
            step_ms_lo=lo,
            step_ms_hi=hi,
            asynchronous=not self.step_mask().all(),
            pace_fastest=float(pace.max()),
            pace_slowest=float(pace.min()),
            exchange_share=share[PHASES[COPY]] + share[PHASES[WAIT]],
            exchange_ms=self.exchange_ms(),
            bubble=bubble_share(self.train["phase_ns"][self.timed]),
            bytes_per_step=self.bytes_per_step()[0],
            wire_bytes_per_step=self.bytes_per_step()[1],
            elapsed_s=elapsed_s,
            s_per_sample=elapsed_s / samples_seen if samples_seen else math.nan,
            eval_samples=int(self.attributes.get("eval_samples", 0)),
            threads=int(self.attributes.get("threads_per_rank", 1)),
            nodes=int(self.attributes.get("nodes", 1)),
            hosts=place.hosts,
            mpi_library=place.mpi_library,
            processor=place.processor,
            cores=place.cores,
            binding=place.binding,
            arithmetic=place.arithmetic,
            oversubscribed=place.oversubscribed,
            data_sha256=str(self.attributes.get("data_sha256", "")),
            inputs_sha256=input_sums(self.attributes),
            spectral_gap=float(self.attributes.get("spectral_gap", math.nan)),
            label_js=float(self.attributes.get("label_js", math.nan)),
            validation_samples=int(self.attributes.get("validation_samples", 0)),
            controller=str(self.attributes.get("controller", "")),
            answer=str(self.attributes.get("answer", "")),
            **epochs.columns(self.attributes),
            parameters_sha256=self.attributes.get("parameters_sha256", ""),
            file=str(self.path),
        )


__all__ = ["DIGESTED", "BrokenFileError", "Run", "check_schema", "read"]

NEEDED = ("status", "host", "pid", "pid_started", "params_json", *NAMES, *NUMBERS)
"""Attributes of every result."""
DIGESTED = {
    "train": ("start_ns", "phase_ns", "bytes_sent", "bytes_copied", "flags"),
    "eval": (*EVAL, *EVAL_SINCE, *VALIDATION, *ANSWER),
    "partition": ("size",),
    "workers": (),
    "provenance/ranks": ("host", "cpu_mask", "instructions"),
}
"""Columns of each group from which Run and a report derive numbers."""


def read(path: str | Path, selection: Mapping[str, Collection[str]] | None = None) -> Run:
    """Read a result file, closed or still being written.

    selection: columns to read by group, all by default; columns missing in the file are skipped.
    Errors: BrokenFileError for a file that is not HDF5, is of another schema or is incomplete.
    """
    path = Path(path)
    with contents.open_hdf5(path) as file:
        attributes = contents.attributes(file)
        check_schema(path, attributes)
        if (parts := int(attributes.get("parts", 1))) > 1:
            raise BrokenFileError(
                f"{path}: its steps are in {parts} files: merge them with "
                f"`python -m bench.merge {path}`"
            )
        missing = [f"attribute {x}" for x in NEEDED if x not in attributes]
        for group, table in (("train", TRAIN), ("eval", EVAL)):
            members = contents.names(file, group)
            missing += [f"{group}/{x}" for x in table if x not in members]
        if missing:
            raise BrokenFileError(f"{path}: {missing[0]} is missing")
        train, evals, partition, workers, ranks = (
            contents.columns(file, group, None if selection is None else selection[group])
            for group in DIGESTED
        )
        texts = contents.texts(file, "provenance/text")
    return Run(path, attributes, train, evals, partition, workers, ranks, texts)


def check_schema(path: Path, attributes: Mapping[str, Any]) -> None:
    """Refuse a file of another schema or of an unsupported version.

    Minor versions only add to the schema. Errors: BrokenFileError.
    """
    schema, version = attributes.get("schema"), str(attributes.get("schema_version"))
    if schema != SCHEMA:
        raise BrokenFileError(f"{path}: the schema is {brief(repr(schema))}, not {SCHEMA!r}")
    major, ours = version.partition(".")[0], VERSION.partition(".")[0]
    if major == ours:
        return
    newer = major.isdecimal() and int(major) > int(ours)
    writer = brief(attributes.get("suite_version", "that wrote it"))
    remedy = "update this suite" if newer else f"read it with the suite {writer}"
    raise BrokenFileError(
        f"{path}: schema version {brief(version)}, this suite reads {VERSION}: {remedy}"
    )
