"""The numbers that the launches of one side give, case by case."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from bench.common.text import Setting
from bench.compare.metrics import Metric
from bench.reporting.launches import Launch
from bench.reporting.training.runs import Digest
from bench.results.rows import Row
from bench.results.schema import COMPLETE, DIVERGED

Settings: TypeAlias = dict[str, Setting]

PLACE = ("suite version", "processor", "threads", "binding", "hosts", "mpi library", "cores")
"""Settings that say what ran and on what: A and B may differ in them, which is then told."""
TOLD = ("git commit", "data sha256", "hosts")
"""What the provenance says of that."""


@dataclass(frozen=True)
class Number:
    """What one launch gives for one case."""

    metric: Metric
    settings: Settings
    """Everything that was chosen; the seed is not among it."""
    place: Settings
    """What ran, and on what."""
    seed: int
    started: str
    """UTC, ISO 8601; empty where the file does not say."""
    larger: bool
    """Whether more is better."""
    value: float


@dataclass(frozen=True)
class Side:
    """The launches of A or of B."""

    name: str
    path: str
    """Where they lie, as the user says."""
    numbers: list[Number] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    """Why -> how many."""

    def told(self) -> str:
        """What was left out, and why."""
        return ", ".join(f"{n} {why}" for why, n in sorted(self.left_out.items()))


def side(
    name: str, path: str, loaded: Mapping[str, Sequence[Any]], metrics: Mapping[str, Metric]
) -> Side:
    """Collect the numbers of loaded files by program, each chosen by its metric.

    What did not end well is counted and not compared, nor is what has no such number.
    """
    made = Side(name, path)
    readers: dict[str, Callable[[Any, Metric], Iterator[Number | str]]] = {
        "bench.train": _of_run,
        "bench.collectives": _of_launch,
        "bench.consensus": _of_launch,
    }
    for program, some in loaded.items():
        if program not in metrics:
            made.left_out[f"of {program}"] += len(some)
            continue
        for kept in some:
            for found in readers[program](kept, metrics[program]):
                if isinstance(found, str):
                    made.left_out[found] += 1
                elif math.isnan(found.value):
                    made.left_out[f"without {found.metric.name}"] += 1
                else:
                    made.numbers.append(found)
    return made


def _of_run(run: Digest, metric: Metric) -> Iterator[Number | str]:
    row = run.row
    status = row.status
    if status != COMPLETE and not (status == DIVERGED and metric.missed):
        yield status
        return
    settings = {"task": row.task, **run.settings}
    place = {"binding": row.binding, **_place(run.provenance)}
    direction = metric.scored and run.direction == "max"
    yield _number(metric, settings, place, run.provenance, row, direction)


def _of_launch(launch: Launch[Row], metric: Metric) -> Iterator[Number | str]:
    if launch.source.status != COMPLETE:
        yield launch.source.status
        return
    said = launch.source.provenance
    for row in launch.rows:
        record = row.record()
        if record.get("wrong", 0) > 0:
            yield f"with wrong sums of {record['algorithm']}"
            continue
        names = [x for x in ("op", "dtype", "bytes", "topology", "algorithm") if x in record]
        settings = launch.settings | {name: record[name] for name in names}
        yield _number(metric, settings, _place(said), said, row, False)


def _number(
    metric: Metric,
    settings: Settings,
    place: Settings,
    said: Mapping[str, str],
    row: Row,
    larger: bool,
) -> Number:
    return Number(
        metric=metric,
        settings={name: x for name, x in settings.items() if name not in PLACE},
        place=place | {name: x for name, x in settings.items() if name in PLACE},
        seed=int(row.record().get("seed", 0)),
        started=said.get("started", ""),
        larger=larger,
        value=row.number(metric.column),
    )


def _place(said: Mapping[str, str]) -> Settings:
    """What ran and on what, of a provenance: hosts, commit, MPI, the version of every package."""
    place: Settings = {name: said[name] for name in TOLD if name in said}
    place["mpi library"] = " ".join(said.get("MPI", "").partition(",")[0].split())
    for item in said.get("packages", "").split(", "):
        package, _, version = item.partition(" ")
        if version:
            place[package] = version
    return place
