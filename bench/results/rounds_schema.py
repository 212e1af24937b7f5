"""The layout of a result of bench.consensus.

/cases     case: dimension scale; topology, period, degree_max, theory_factor, first, rounds,
           reached
/rounds    round (flat over all cases), rank: dimension scales; case, k, error, duration_ns,
           bytes_sent, bytes_copied, messages
/redraws   redraw: dimension scale; case, k, error of further curves of random topologies, each
           on new draws from the same start: k begins again at 1; the error of what workers hold
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.results.fit import Curve

COUNTS = ("duration_ns", "bytes_sent", "bytes_copied", "messages")
"""What every rank counts in every round."""

TABLES: dict[str, dict[str, tuple[tuple[str, ...], Any, str, str]]] = {
    "cases": {
        "topology": (("case",), "S128", "", "name of the topology with its options"),
        "period": (("case",), np.int64, "1", "rounds until the links repeat; 0: random, never"),
        "degree_max": (("case",), np.int64, "1", "most workers that one sends to in a round"),
        "theory_factor": (("case",), np.float64, "1", "by which the error shrinks a round; theory"),
        "first": (("case",), np.int64, "1", "where the rounds of the case begin in /rounds"),
        "rounds": (("case",), np.int64, "1", "how many they are"),
        "reached": (("case",), np.uint8, "1", "1 where the error came down to the tolerance"),
    },
    "rounds": {
        "case": (("round",), np.int64, "1", "row of /cases"),
        "k": (("round",), np.int64, "1", "round of the case, counted from 1"),
        "error": (("round",), np.float64, "1", "consensus error after it, 1 at the start"),
        "duration_ns": (("round", "rank"), np.int64, "ns", "the round on this rank"),
        "bytes_sent": (("round", "rank"), np.int64, "B", "handed to MPI for other ranks"),
        "bytes_copied": (("round", "rank"), np.int64, "B", "read from workers of the same rank"),
        "messages": (("round", "rank"), np.int64, "1", "messages handed to MPI"),
    },
    "redraws": {
        "case": (("redraw",), np.int64, "1", "row of /cases"),
        "k": (("redraw",), np.int64, "1", "round of the curve, counted from 1"),
        "error": (("redraw",), np.float64, "1", "rms of |x_i - w_i mean| after it, 1 at the start"),
    },
}
"""Group -> dataset -> dimensions, dtype, units, long_name. The first dimension grows."""
NEEDED = ("status", "workers", "ranks", "dimension", "tolerance", "seed", "params_json")
"""Attributes that the numbers need."""


def scales(group: str) -> list[str]:
    """The dimensions of a group, first the one that grows."""
    table = TABLES[group.strip("/")]
    return list(dict.fromkeys(dim for dims, *_ in table.values() for dim in dims))


@dataclass(frozen=True)
class Case:
    """What one topology brought."""

    topology: str
    period: int
    degree_max: int
    theory_factor: float
    reached: bool
    error: Curve
    """(n,) after each round."""
    counts: NDArray[np.int64]
    """(4, n, ranks): one table for each of COUNTS."""
    redraws: list[Curve] = field(default_factory=list)
