"""Points of scaling series and targets: launches with equal settings, and ratios of their times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

from bench.common.text import setting_label
from bench.reporting.training.runs import Digest
from bench.reporting.training.sections import order, settings_label

MACHINE = ("mpi library", "processor", "cores", "arithmetic", "suite version")
"""Settings of the machine and its software that decide times besides threads and binding."""
Place: TypeAlias = tuple[int, str, Fraction]


@dataclass(frozen=True)
class Point:
    """Launches with equal settings."""

    runs: list[Digest]
    workers: int
    ranks: int
    batch: int
    nodes: int
    threads: int
    binding: str

    @property
    def crowd(self) -> Fraction:
        """Return the ranks per node if they share cores, else 0."""
        shared = "oversubscribed" in self.binding
        return Fraction(self.ranks, max(1, self.nodes)) if shared else Fraction(0)

    @property
    def place(self) -> Place:
        """Return the properties that must be equal for a ratio of times: threads and binding."""
        return self.threads, self.binding, self.crowd


def points(runs: Iterable[Digest]) -> list[Point]:
    """Group the runs into points, in the order of their first runs."""
    runs_of: dict[tuple[Any, ...], list[Digest]] = {}
    for run in runs:
        runs_of.setdefault((order(run.settings), run.row.nodes), []).append(run)
    return [_point(some) for some in runs_of.values()]


def _point(runs: list[Digest]) -> Point:
    row = runs[0].row
    return Point(runs, row.workers, row.ranks, row.batch, row.nodes, row.threads, row.binding)


def mismatch(point: Point, base: Point) -> str:
    """Return the reason why times of two points cannot be compared; empty if they can."""
    reasons = []
    if point.threads != base.threads:
        reasons.append(f"{setting_label('threads', point.threads)}, base {base.threads}")
    if point.binding != base.binding:
        bindings = [x.binding or "binding not known" for x in (point, base)]
        reasons.append(f"{bindings[0]}; base {bindings[1]}")
    elif point.crowd != base.crowd:
        reasons.append(f"{point.crowd} ranks share the cores of a node, base {base.crowd}")
    for name in MACHINE:
        labels = [settings_label(x.runs[0], [name]) for x in (point, base)]
        reasons += [f"{labels[0]}; base {labels[1]}"] if labels[0] != labels[1] else []
    return "; ".join(reasons)
