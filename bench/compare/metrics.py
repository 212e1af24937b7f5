"""Metrics of bench.compare, and their values in the launches of each side."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from bench.common.spec import unknown_name
from bench.common.text import Setting
from bench.results.rows import CollectiveRow, ConsensusRow, Row, TrainingRow

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.reporting.launches import Launch
    from bench.reporting.training.runs import Digest

LEAST = 0.02
"""Smallest relative difference of times, bytes or counts that counts."""
MARGIN = 0.05
"""Relative worsening that a case must exclude to be not worse, unless --margin overrides it."""


@dataclass(frozen=True)
class Metric:
    """Metric of a launch: a column of the rows of its program."""

    name: str
    row: type[Row]
    column: str
    seeded: bool = False
    """True if the seed determines the number, so launches with one seed repeat each other."""
    missed: bool = False
    """True if a diverged run counts as a missed target, which is worse than any number."""
    scored: bool = False
    """True for the metric of the task; the file has its direction."""

    @property
    def program(self) -> str:
        """Program that measures the number."""
        return PROGRAMS[self.row]

    @property
    def unit(self) -> str:
        """Unit of the number; empty for a pure number."""
        units = self.row.columns[self.column].units
        return "" if units == "1" else units

    @property
    def text(self) -> str:
        """Long name of the column."""
        return self.row.columns[self.column].long_name

    @property
    def least(self) -> float:
        """Smallest relative difference that counts, unless --least overrides it."""
        return 0.0 if self.scored else LEAST

    @property
    def words(self) -> tuple[str, str]:
        """Words for an improvement and for a regression in B."""
        return ("faster", "slower") if self.unit in ("us", "ms", "s") else ("better", "worse")


PROGRAMS: dict[type[Row], str] = {
    TrainingRow: "bench.train",
    CollectiveRow: "bench.collectives",
    ConsensusRow: "bench.consensus",
}
_ALL = (
    Metric("step_ms", TrainingRow, "step_ms"),
    Metric("step_ms_p50", TrainingRow, "step_ms_p50"),
    Metric("exchange_ms", TrainingRow, "exchange_ms"),
    Metric("elapsed_s", TrainingRow, "elapsed_s"),
    Metric("s_per_sample", TrainingRow, "s_per_sample"),
    Metric("time_to_target_s", TrainingRow, "time_to_target_s", missed=True),
    Metric("steps_to_target", TrainingRow, "steps_to_target", seeded=True, missed=True),
    Metric("samples_to_target", TrainingRow, "samples_to_target", seeded=True, missed=True),
    Metric("bytes_to_target", TrainingRow, "bytes_to_target", seeded=True, missed=True),
    Metric("bytes_per_step", TrainingRow, "bytes_per_step", seeded=True),
    Metric("metric", TrainingRow, "metric", seeded=True, scored=True),
    Metric("metric_mean", TrainingRow, "metric_mean", seeded=True, scored=True),
    Metric("metric_worst", TrainingRow, "metric_worst", seeded=True, scored=True),
    Metric("own_mean", TrainingRow, "own_mean", seeded=True, scored=True),
    Metric("own_worst", TrainingRow, "own_worst", seeded=True, scored=True),
    Metric("loss", TrainingRow, "loss", seeded=True),
    Metric("consensus", TrainingRow, "consensus", seeded=True),
    Metric("p50_us", CollectiveRow, "p50_us"),
    Metric("p99_us", CollectiveRow, "p99_us"),
    Metric("round_us", ConsensusRow, "us_per_round_p50"),
    Metric("ms_to_1e6", ConsensusRow, "ms_to_1e6"),
    Metric("rounds_to_1e6", ConsensusRow, "rounds_to_1e6", seeded=True),
    Metric("bytes_to_1e6", ConsensusRow, "bytes_to_1e6", seeded=True),
)
METRICS = {metric.name: metric for metric in _ALL}


def select_metrics(name: str) -> dict[str, Metric]:
    """Return the metric of each compared program: the named one or each default.

    Errors: UserError for an unknown name.
    """
    if name and name not in METRICS:
        raise unknown_name("metric", name, METRICS)
    chosen = [METRICS[name]] if name else _ALL[::-1]
    return {metric.program: metric for metric in chosen}


def metric_list() -> str:
    """Return the names of all metrics by program, for --help."""
    names: dict[str, list[str]] = {}
    for metric in _ALL:
        names.setdefault(metric.program.removeprefix("bench."), []).append(metric.name)
    return "; ".join(f"{program}: {', '.join(metrics_)}" for program, metrics_ in names.items())


Settings: TypeAlias = dict[str, Setting]
Values: TypeAlias = "NDArray[np.float64]"
"""Numbers of launches, (n,) float64, in the unit of the metric."""

PLACE = (
    *("suite version", "mpi library", "hosts", "processor", "cores"),
    *("binding", "threads", "arithmetic"),
)
"""Settings that describe the environment: A and B may differ in them, which a note reports."""
PROVENANCE = ("git commit", "data sha256", "hosts")
"""Entries of the provenance that describe the environment."""


@dataclass(frozen=True)
class Number:
    """Value of a metric in one launch for one case."""

    metric: Metric
    settings: Settings
    """Settings except the seed."""
    place: Settings
    """Properties of the environment: versions and machine."""
    options: Mapping[str, Mapping[str, Any]]
    """Setting that is a spec -> all its options, defaults included."""
    seed: int
    started: str
    """Start in UTC, ISO 8601; empty if the file lacks it."""
    larger: bool
    """True if a larger number is better."""
    value: float


@dataclass(frozen=True)
class Side:
    """Launches of A or of B."""

    name: str
    path: str
    """Path as given by the user."""
    numbers: list[Number] = field(default_factory=list)
    omissions: Counter[str] = field(default_factory=Counter)
    """Number of omitted files by reason."""
    selection: str = ""
    """Selectors of the side as given by the user; empty if all launches are compared."""

    @property
    def title(self) -> str:
        """Path and selectors, as text."""
        return f"{self.path} ({self.selection})" if self.selection else self.path

    def omission_text(self) -> str:
        """Return the number of omitted files by reason, as text."""
        return ", ".join(f"{n} {reason}" for reason, n in sorted(self.omissions.items()))


def side(
    name: str, path: str, loaded: Mapping[str, Sequence[Any]], metrics: Mapping[str, Metric]
) -> Side:
    """Return a side with the metric of each program, read from the loaded files by program.

    Files of incomplete runs and files without the metric are omitted and counted.
    """
    result = Side(name, path)
    readers: dict[str, Callable[[Any, Metric], Iterator[Number | str]]] = {
        "bench.train": _of_run,
        "bench.collectives": _of_launch,
        "bench.consensus": _of_launch,
    }
    for program, files in loaded.items():
        if program not in metrics:
            result.omissions[f"of {program}"] += len(files)
            continue
        for file in files:
            for number in readers[program](file, metrics[program]):
                if isinstance(number, str):
                    result.omissions[number] += 1
                elif math.isnan(number.value):
                    result.omissions[f"without {number.metric.name}"] += 1
                else:
                    result.numbers.append(number)
    return result


def _of_run(run: Digest, metric: Metric) -> Iterator[Number | str]:
    from bench.results.schema import COMPLETE, DIVERGED

    row = run.row
    status = row.status
    if status != COMPLETE and not (status == DIVERGED and metric.missed):
        yield status
        return
    settings = {"task": row.task, **run.settings}
    place = {"binding": row.binding, **_place(run.provenance)}
    direction = metric.scored and run.direction == "max"
    number = _number(metric, settings, place, run.provenance, row, direction)
    yield replace(number, options=run.options)


def _of_launch(launch: Launch[Row], metric: Metric) -> Iterator[Number | str]:
    from bench.results.schema import COMPLETE

    if launch.source.status != COMPLETE:
        yield launch.source.status
        return
    provenance = launch.source.provenance
    for row in launch.rows:
        record = row.record()
        if record.get("wrong", 0) > 0:
            yield f"with wrong results of {record['algorithm']}"
            continue
        names = [x for x in ("op", "dtype", "bytes", "topology", "algorithm") if x in record]
        settings = launch.settings | {name: record[name] for name in names}
        yield _number(metric, settings, _place(provenance), provenance, row, False)


def _number(
    metric: Metric,
    settings: Settings,
    place: Settings,
    provenance: Mapping[str, str],
    row: Row,
    larger: bool,
) -> Number:
    return Number(
        metric=metric,
        settings={name: x for name, x in settings.items() if name not in PLACE},
        place=place | {name: x for name, x in settings.items() if name in PLACE},
        options={},
        seed=int(row.record().get("seed", 0)),
        started=provenance.get("started", ""),
        larger=larger,
        value=row.number(metric.column),
    )


def _place(provenance: Mapping[str, str]) -> Settings:
    """Return the environment of a launch: hosts, commit, MPI library and package versions."""
    place: Settings = {name: provenance[name] for name in PROVENANCE if name in provenance}
    place["mpi library"] = " ".join(provenance.get("MPI", "").partition(",")[0].split())
    for item in provenance.get("packages", "").split(", "):
        package, _, version = item.partition(" ")
        if version:
            place[package] = version
    return place
