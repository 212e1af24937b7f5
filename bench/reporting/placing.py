"""Training runs by where they ran; why the times of two may not be divided."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

from bench.common.text import setting_label
from bench.reporting.digest import Digest

Place: TypeAlias = tuple[int, str, Fraction]
WHERE = ("workers", "ranks", "batch", "nodes", "threads", "binding")
"""Columns of Run.row() that make a point, in the order of its fields."""


@dataclass(frozen=True)
class Point:
    """Launches of the same work on the same ranks, bound the same way."""

    runs: list[Digest]
    workers: int
    ranks: int
    batch: int
    nodes: int
    threads: int
    binding: str

    @property
    def crowd(self) -> Fraction:
        """Ranks a node where they share cores, else 0: more of them are on fewer cores each."""
        shared = "oversubscribed" in self.binding
        return Fraction(self.ranks, max(1, self.nodes)) if shared else Fraction(0)

    @property
    def place(self) -> Place:
        """What must be equal where times are divided: threads, and how ranks are bound."""
        return self.threads, self.binding, self.crowd


def points(runs: Iterable[Digest]) -> list[Point]:
    """The runs by what a point has in common, in the order of their first ones."""
    found: dict[tuple[Any, ...], list[Digest]] = {}
    for run in runs:
        found.setdefault(tuple(run.row[x] for x in WHERE), []).append(run)
    return [Point(some, *at) for at, some in found.items()]


def unlike(point: Point, base: Point) -> str:
    """Why times of the two may not be divided; empty where they may."""
    why = []
    if point.threads != base.threads:
        why.append(f"{setting_label('threads', point.threads)}, base {base.threads}")
    if point.binding != base.binding:
        known = [x.binding or "binding not known" for x in (point, base)]
        why.append(f"{known[0]}; base {known[1]}")
    elif point.crowd != base.crowd:
        why.append(f"{point.crowd} ranks share the cores of a node, base {base.crowd}")
    return "; ".join(why)
