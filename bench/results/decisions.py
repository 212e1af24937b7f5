"""Group /decisions of a run with a controller: choices, rewards, posteriors.

/decisions  index: dimension scale; the columns of DECISIONS, one row per segment; with arms
            also arm_name: dimension scale, and the columns of POSTERIOR
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from bench.results import contents
from bench.results.guard import BrokenFileError
from bench.results.resultfile import add_scale, describe

LONGEST_SPEC = 256
"""Maximum number of bytes of an algorithm with its options in /decisions."""
DECISIONS: Mapping[str, tuple[Any, str, str]] = {
    "first": (np.int64, "1", "number of the first step of the segment"),
    "steps": (np.int64, "1", "steps of the segment"),
    "arm": (np.int32, "1", "index of the choice in arm_name; -1 without arms"),
    "reward": (np.float64, "1", "reward of the segment by the measure of the controller; or NaN"),
    "seconds": (np.float64, "s", "duration of the segment by the clock of the run"),
    "algorithm": (f"S{LONGEST_SPEC}", "", "algorithm of the segment with its options"),
}
"""Dtype, units and long_name of each dataset of /decisions along index."""
POSTERIOR = {
    "mean": "posterior mean of the value of each arm before the choice; or NaN",
    "deviation": "posterior standard deviation of the value of each arm; or NaN",
}
"""Names and long_name of the datasets of /decisions along index and arm_name."""


@dataclass(frozen=True)
class Decided:
    """Row of /decisions: a decision, and the observation of its segment."""

    columns: Mapping[str, Any]
    """A value for every name of DECISIONS."""
    arms: tuple[str, ...] = ()
    mean: tuple[float, ...] = ()
    """Posterior means of the arms; empty if unknown."""
    deviation: tuple[float, ...] = ()


@dataclass(frozen=True)
class Decisions:
    """The group /decisions in memory: n segments, A arms."""

    columns: dict[str, NDArray[Any]]
    """(n,) columns by the names of DECISIONS."""
    arms: list[str]
    mean: NDArray[np.float64]
    """(n, A) posterior means."""
    deviation: NDArray[np.float64]
    """(n, A) posterior standard deviations."""

    def algorithms(self) -> list[str]:
        """Return the algorithm of each segment with its options."""
        return [text.decode() for text in self.columns["algorithm"]]

    def shares(self) -> dict[str, float]:
        """Return the share of the steps of each algorithm, the largest first."""
        steps: dict[str, int] = {}
        for text, n in zip(self.algorithms(), self.columns["steps"].tolist(), strict=True):
            steps[text] = steps.get(text, 0) + n
        total = max(1, sum(steps.values()))
        return {x: steps[x] / total for x in sorted(steps, key=lambda x: -steps[x])}

    def rows(self, step: int) -> list[Decided]:
        """Return the rows of the segments that begin before a step."""
        count = int((self.columns["first"] < step).sum())
        return [
            Decided(
                {name: values[i] for name, values in self.columns.items()},
                tuple(self.arms),
                tuple(self.mean[i]),
                tuple(self.deviation[i]),
            )
            for i in range(count)
        ]


def append(file: h5py.File, rows: Sequence[Decided]) -> None:
    """Append rows to /decisions of an open file; create the group if needed."""
    if "decisions" not in file:
        _create(file, rows[0].arms)
    group = file["decisions"]
    n, added = len(group["index"]), len(rows)
    columns: dict[str, Any] = {name: [row.columns[name] for row in rows] for name in DECISIONS}
    columns["index"] = np.arange(n, n + added)
    for name, values in columns.items():
        group[name].resize(n + added, axis=0)
        group[name][n:] = np.array(values, group[name].dtype)
    for name in POSTERIOR if rows[0].arms else ():
        group[name].resize(n + added, axis=0)
        unknown = (np.nan,) * len(rows[0].arms)
        group[name][n:] = [getattr(row, name) or unknown for row in rows]


def _create(file: h5py.File, arms: Sequence[str]) -> None:
    group = file.create_group("decisions")
    add_scale(group, "index", np.empty(0, np.int64), grows=True)
    for name, (dtype, units, title) in DECISIONS.items():
        dataset = group.create_dataset(
            name, shape=(0,), maxshape=(None,), chunks=(64,), dtype=dtype
        )
        describe(dataset, ("index",), units, title)
    if not arms:
        return
    add_scale(group, "arm_name", np.array([x.encode() for x in arms]))
    for name, title in POSTERIOR.items():
        shape = (0, len(arms))
        dataset = group.create_dataset(
            name, shape=shape, maxshape=(None, len(arms)), chunks=(64, len(arms)), dtype="f8"
        )
        describe(dataset, ("index", "arm_name"), "1", title)


def read(path: str | Path) -> Decisions | None:
    """Return the decisions of a file; None without any. Errors: BrokenFileError."""
    path = Path(path)
    with contents.open_hdf5(path) as file:
        if not contents.has(file, "decisions"):
            return None
        columns = {
            name: contents.column(file, f"decisions/{name}").astype(dtype)
            for name, (dtype, *_) in DECISIONS.items()
        }
        n = len(columns["first"])
        arms: list[str] = []
        posterior = {name: np.empty((n, 0)) for name in POSTERIOR}
        if contents.has(file, "decisions/arm_name"):
            arms = [bytes(x).decode() for x in contents.column(file, "decisions/arm_name")]
            posterior = {
                name: contents.column(file, f"decisions/{name}").astype(float) for name in POSTERIOR
            }
    shapes = {x.shape for x in columns.values()}, {x.shape for x in posterior.values()}
    if shapes != ({(n,)}, {(n, len(arms))}):
        raise BrokenFileError(f"{path}: the columns of /decisions differ in length")
    return Decisions(columns, arms, **posterior)


def layout(file: h5py.File) -> dict[str, dict[str, tuple[tuple[str, ...], Any, str]]]:
    """Return dimensions, dtype and units of the datasets of /decisions in an open file."""
    table: dict[str, tuple[tuple[str, ...], Any, str]] = {
        name: (("index",), dtype, units) for name, (dtype, units, _) in DECISIONS.items()
    }
    if "arm_name" in file["decisions"]:
        table |= dict.fromkeys(POSTERIOR, (("index", "arm_name"), np.float64, "1"))
    return {"decisions": table}


def flaws(path: Path) -> Iterator[str]:
    """Yield the mismatches between the rows of /decisions of a file, if any."""
    decisions = read(path)
    if not decisions:
        return
    first, steps, arm = (decisions.columns[x] for x in ("first", "steps", "arm"))
    if (steps < 1).any() or (first != np.cumsum(steps) - steps).any():
        yield "decisions/first and decisions/steps are not consecutive"
    if (arm < -1).any() or (arm >= max(1, len(decisions.arms))).any():
        yield f"decisions/arm is not the index of one of {len(decisions.arms)} arms"
    if (decisions.columns["seconds"] < 0).any():
        yield "decisions/seconds has values below 0"
