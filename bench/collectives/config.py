"""The configuration of bench.collectives: one frozen dataclass."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from algorithms.collectives import ALLREDUCES

YARDSTICK = "library"
"""Always measured: the column `vs library` needs it."""


ASIDE = ("compat", "full", "tail_lat", "csv", "out", "name", "overwrite", "ranks")
"""What does not change the numbers."""


@dataclass(frozen=True)
class Config:
    """The options of bench.collectives, checked."""

    sizes: tuple[int, ...]
    """Bytes, ascending, whole elements."""
    dtype: str
    algorithms: tuple[str, ...]
    """As named by the user; empty where he named none."""
    against: tuple[str, ...]
    iterations: int
    warmup: int
    ci: float
    time_s: float
    check: bool
    seed: int
    compat: str
    full: bool
    tail_lat: bool
    csv: str
    out: str
    name: str
    overwrite: bool
    ranks: int

    @property
    def shown(self) -> tuple[str, ...]:
        """The candidates that get a row: by default all, in a classic format MPI's own."""
        default = (YARDSTICK,) if self.compat else tuple(ALLREDUCES)
        return (*(self.algorithms or default), *self.against)

    @property
    def measured(self) -> tuple[str, ...]:
        """The candidates that are timed: those shown and the yardstick."""
        return self.shown if YARDSTICK in self.shown else (*self.shown, YARDSTICK)

    @property
    def itemsize(self) -> int:
        """Bytes of an element."""
        return np.dtype(self.dtype).itemsize

    def resolved(self) -> dict[str, Any]:
        """Everything that decides the numbers, with every default filled in."""
        plain = {key: value for key, value in asdict(self).items() if key not in ASIDE}
        return plain | {"algorithms": self.measured}
