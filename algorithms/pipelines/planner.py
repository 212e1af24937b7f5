"""Planner of pipelines: the cut, and the ranks of each stage, with the shortest period.

Narayanan, Harlap, Phanishayee, Seshadri, Devanur, Ganger, Gibbons, Zaharia: PipeDream, SOSP 2019,
section 3.1. The period is the time between two micro-batches of a full pipeline: that of its
slowest stage or link. Symbols: a_s activations of unit s and P parameters of a stage, B; c time of
a byte on a link, the inverse of its bandwidth; m replicas of a stage, which take micro-batches in
turns.

    T(i..j, m) = (time of the units i..j + 2 (m - 1) / m P c) / m        a stage with m replicas
    A(j, m)    = min over s, m' of max(A(s, m'), 2 a_s c, T(s+1..j, m - m'))

Levels repeat this from the inside: the time of units on a host with n ranks is their A for up to n
ranks, and replicas are hosts.
Departs from the paper: (1) replicas average with a ring, 2 (m - 1) / m of the parameters, instead
of a parameter server; (2) the time of communication adds to that of computation, since a rank
computes nothing while it averages; (3) ranks may stay idle where they would not help.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from algorithms.pipelines import cut


class Chain:
    """Times and sizes of the units of a model for one micro-batch.

    forward, backward: (L,) ns. activations: (L,) B, output of each unit. parameters: (L,) B.
    fixed: (2,) ns that both passes of a stage take beside those of its units.
    """

    def __init__(
        self,
        forward: Sequence[float],
        backward: Sequence[float],
        activations: Sequence[float],
        parameters: Sequence[float],
        fixed: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.forward, self.backward, self.fixed = forward, backward, fixed
        self.activations, self.parameters = activations, parameters
        self._before = [
            [0.0, *accumulate(values)] for values in (self.forward, self.backward, self.parameters)
        ]

    def __len__(self) -> int:
        return len(self.forward)

    def _sum(self, values: int, start: int, stop: int) -> float:
        return self._before[values][stop] - self._before[values][start]

    def passes(self, start: int, stop: int) -> tuple[float, float]:
        """Return the times of the forward and the backward pass of a stage, ns."""
        return (
            self.fixed[0] + self._sum(0, start, stop),
            self.fixed[1] + self._sum(1, start, stop),
        )

    def averaging(self, start: int, stop: int, replicas: int, per_byte: float) -> float:
        """Return the time in which replicas of a stage average its parameters, ns."""
        return 2 * (replicas - 1) / replicas * self._sum(2, start, stop) * per_byte

    def crossing(self, start: int, per_byte: float) -> float:
        """Return the time of the messages of a micro-batch before a unit, both ways, ns."""
        return 2 * self.activations[start - 1] * per_byte if start else 0.0


@dataclass(frozen=True)
class Level:
    """A level of the machine: its number of ranks, or of components of the level inside."""

    count: int
    per_byte: float
    """Time of a byte between two of them, ns; 0 without limit."""


class Part(NamedTuple):
    """A stage of a plan with its replicas; inside: parts of each replica on the level inside."""

    start: int
    stop: int
    replicas: int
    inside: tuple[Part, ...]


class Plan(NamedTuple):
    """Period of a plan, ns per micro-batch, and its parts in order."""

    period: float
    parts: tuple[Part, ...]


def link(levels: Sequence[Level], rank: int, other: int) -> float:
    """Return the time of a byte between two ranks, ns: that of the innermost level they share."""
    size = 1
    for level in levels:
        size *= level.count
        if rank // size == other // size:
            return level.per_byte
    raise AssertionError("every rank is in the outermost level")


def grid(chain: Chain, rows: int, columns: int, levels: Sequence[Level]) -> tuple[float, list[int]]:
    """Return the period and the bounds of the best cut for a grid of ranks, one stage a column.

    Rank i C + j is in row i and column j, and every stage has a replica in each row: plans that
    bench.train can run. One row is a straight pipeline. Errors: ValueError for more columns than
    units.
    """

    def slowest(pairs: Iterator[tuple[int, int]]) -> float:
        return max((link(levels, p, q) for p, q in pairs), default=0.0)

    firsts = range(0, rows * columns, columns)
    before = [slowest((p + j - 1, p + j) for p in firsts if j) for j in range(columns)]
    between = [slowest((p + j - columns, p + j) for p in firsts if p) for j in range(columns)]

    def cost(j: int, start: int, stop: int) -> float:
        averaging = chain.averaging(start, stop, rows, between[j])
        stage = (sum(chain.passes(start, stop)) + averaging) / rows
        return max(stage, chain.crossing(start, before[j]))

    bounds = cut.split(len(chain), columns, cost)
    return max(cost(j, bounds[j], bounds[j + 1]) for j in range(columns)), bounds


def replicated(chain: Chain, levels: Sequence[Level]) -> Plan:
    """Return the plan with the shortest period on up to all ranks; levels: innermost first."""
    L = len(chain)
    inside = {
        (i, j): Plan(sum(chain.passes(i, j)), ()) for i in range(L) for j in range(i + 1, L + 1)
    }
    for k, level in enumerate(levels):
        starts = range(L) if k + 1 < len(levels) else range(1)
        inside = {
            (i, j): plans[-1]
            for i in starts
            for j, plans in _plans_from(chain, inside, level, i).items()
        }
    return inside[0, L]


def _plans_from(
    chain: Chain, inside: dict[tuple[int, int], Plan], level: Level, i: int
) -> dict[int, list[Plan]]:
    """Return the best plans of the units i..j by j, each on up to 1, 2, ... components."""
    L, counts = len(chain), range(1, level.count + 1)
    stage = {
        (s, j, m): (inside[s, j].period + chain.averaging(s, j, m, level.per_byte)) / m
        for s in range(i, L)
        for j in range(s + 1, L + 1)
        for m in counts
    }
    best: dict[int, list[Plan]] = {}
    for j in range(i + 1, L + 1):
        best[j] = []
        for m in counts:
            choices = [(stage[i, j, m], i, m)]
            for s in range(i + 1, j):
                crossing = chain.crossing(s, level.per_byte)
                for replicas in range(1, m):
                    earlier = best[s][m - replicas - 1]
                    period = max(earlier.period, crossing, stage[s, j, replicas])
                    choices.append((period, s, replicas))
            period, s, replicas = min(choices)
            if best[j] and best[j][-1].period <= period:
                best[j].append(best[j][-1])
                continue
            before = best[s][m - replicas - 1].parts if s > i else ()
            part = Part(s, j, replicas, inside[s, j].parts)
            best[j].append(Plan(period, (*before, part)))
    return best
