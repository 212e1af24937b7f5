"""What a report keeps of a training run: its row, settings and curve; raw steps are let go."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from algorithms.wire.meter import PHASES
from bench.common.text import Setting, setting_label
from bench.results.origin import derived, machine, provenance
from bench.results.reader import DIGESTED, Run, read
from bench.results.rows import TrainingRow
from bench.results.schema import COMPLETE

POINTS = 200
"""Most points of a curve."""
BINS = 60
"""Most parts that the steps of a run are divided into, to see drift and noise."""
ATTRIBUTES = ("optimizer", "allreduce", "workers", "ranks", "batch")
PARAMS = ("steps", "dtype", "target", "eval_every", "warmup")
TROUBLE = ("data", "straggler", "drop", "link")
IDENTITY = ("data_sha256", "case_hash", "run_uuid", "attempt", "suite_version", "schema_version")
"""Attributes that say which run, which data, which suite it was."""


@dataclass(frozen=True)
class Digest:
    """One run, small enough to hold thousands of."""

    row: TrainingRow
    """Run.row()."""
    direction: str
    """Whether the metric is to be `max` or `min`."""
    settings: dict[str, Setting]
    """Everything that was chosen but task and seed: equal settings make one case. Partition and
    algorithm stand last: what is sorted by settings has the algorithms beside each other."""
    curve: dict[str, NDArray[np.float64]]
    """step, elapsed_s, bytes (moved by a worker), metric, consensus: one value an evaluation."""
    phase_ms: dict[str, float]
    """The median step divided by the phases' shares of all timed steps; NaN without steps."""
    spread_ms: tuple[float, float]
    """5th and 95th percentile of the step; NaN without steps."""
    timed: int
    """Number of steps behind the times."""
    rank_ms: NDArray[np.float32]
    """(ranks, phases) mean milliseconds of the timed steps that the rank took; NaN without."""
    rank_hosts: list[str]
    """The host of each rank; empty where the file does not say."""
    drift: NDArray[np.float32]
    """(at most BINS, 2) step at the end of a part of the run, and the median of its steps, ms."""
    provenance: dict[str, str]
    """Label -> text: how the run was started, where, with what."""


def load(path: Path) -> Digest:
    """Read and digest a result file.

    Errors: BrokenFileError, also for a file whose parts do not fit together.
    """
    run = read(path, DIGESTED)
    return derived(path, lambda: digest(run))


def digest(run: Run) -> Digest:
    """What the report needs of a run."""
    row, params, timed = run.row(), run.params, int(run.timed.sum())
    settings: dict[str, Setting] = {name: run.attributes[name] for name in ATTRIBUTES}
    settings |= {name: params.get(name) for name in PARAMS}
    settings |= {name: params.get(name) or None for name in TROUBLE}
    settings["threads"] = run.attributes.get("threads_per_rank")
    settings["suite version"] = run.attributes.get("suite_version")
    settings["processor"] = machine(run).get("processor")
    settings |= {name: run.attributes[name] for name in ("partition", "algorithm")}
    ms = run.step_ns() / 1e6
    low, high = np.quantile(ms, [0.05, 0.95]) if timed else (np.nan, np.nan)
    return Digest(
        row=row,
        direction=str(run.attributes["metric_direction"]),
        settings=settings,
        curve=_curve(run),
        phase_ms={name: x * row.step_ms_p50 for name, x in run.phase_share().items()},
        spread_ms=(float(low), float(high)),
        timed=timed,
        rank_ms=_rank_ms(run),
        rank_hosts=[x.decode(errors="replace") for x in run.ranks.get("host", ())],
        drift=_drift(ms),
        provenance=_everything(run),
    )


def _everything(run: Run) -> dict[str, str]:
    """What every result says of itself, and all that was set and found for this one."""
    said = provenance(run)
    file = said.pop("file")
    said["settings"] = _spelled(run.params)
    environment = json.loads(run.texts.get("environment", "{}"))
    said["environment"] = " ".join(f"{key}={value}" for key, value in environment.items())
    said |= {x.replace("_", " "): str(run.attributes.get(x, "")) for x in IDENTITY}
    return {key: text for key, text in said.items() if text} | {"file": file}


def _spelled(params: Mapping[str, Any]) -> str:
    """Every setting that was made; options of a name in brackets."""
    made = {key.replace("_", " "): x for key, x in params.items() if x not in (None, "", {})}
    texts = (f"[{_spelled(x)}]" if isinstance(x, dict) else str(x) for x in made.values())
    return ", ".join(f"{key} {text}" for key, text in zip(made, texts, strict=True))


def _rank_ms(run: Run) -> NDArray[np.float32]:
    spent = run.train["phase_ns"][run.timed].sum(0, dtype=float) / 1e6
    taken = run.taken()[run.timed].sum(0).astype(float)
    mean = spent / np.where(taken > 0, taken, np.nan)[:, None]
    return np.asarray(mean, np.float32).reshape(-1, len(PHASES))


def _drift(ms: NDArray[np.float64]) -> NDArray[np.float32]:
    parts = [part for part in np.array_split(ms, BINS) if len(part)]
    ends = np.cumsum([len(part) for part in parts])
    made = [(end, np.median(part)) for end, part in zip(ends, parts, strict=True)]
    return np.array(made, np.float32).reshape(-1, 2)


def _curve(run: Run) -> dict[str, NDArray[np.float64]]:
    evals, train = run.evals, run.train
    n = len(evals["step"])
    chosen = np.unique(np.linspace(0, n - 1, min(n, POINTS)).round().astype(int))
    moved = np.cumsum((train["bytes_sent"] + train["bytes_copied"]).sum(1, dtype=float))
    moved = np.concatenate([[0.0], moved]) / int(run.attributes["workers"])
    step = evals["step"][chosen]
    return {
        "step": step.astype(float),
        "elapsed_s": evals["elapsed_ns"][chosen] / 1e9,
        "bytes": moved[np.minimum(step, len(moved) - 1)],
        "metric": evals["metric"][chosen].astype(float),
        "consensus": evals["consensus"][chosen].astype(float),
    }


@dataclass(frozen=True)
class Section:
    """The runs of one task and one metric: only they can stand on one axis."""

    task: str
    metric: str
    direction: str
    runs: list[Digest]
    """Sorted: equal conditions beside each other, then algorithms, then seeds."""
    common: dict[str, Setting]
    """The settings that are the same in all runs, those that say nothing left out."""
    varying: list[str]
    """The names of the others."""

    def summary(self) -> str:
        """The task and what is the same in all runs, as a text."""
        names = sorted(self.common, key=lambda x: x not in ("partition", "algorithm"))
        return ", ".join([self.task, *(setting_label(x, self.common[x]) for x in names)])

    def condition(self, run: Digest) -> str:
        """What varies but the algorithm, as a text: `iid, 2 ranks`."""
        names = sorted(self.varying, key=lambda x: x != "partition")
        texts = [setting_label(x, run.settings[x]) for x in names if x != "algorithm"]
        return ", ".join(texts) or str(run.settings["partition"])

    def cases(self) -> list[list[Digest]]:
        """The complete runs of equal settings together; each other run alone, after them."""
        return [[self.runs[i] for i in case] for case in self.places]

    @cached_property
    def places(self) -> list[list[int]]:
        """The cases as the places of their runs in `runs`."""
        cases: dict[tuple[Any, ...], list[int]] = {}
        for i, run in enumerate(self.runs):
            alone = () if run.row.status == COMPLETE else (i,)
            cases.setdefault((order(run.settings), alone), []).append(i)
        return [cases[key] for key in sorted(cases)]

    def complete(self) -> Iterator[tuple[int, list[Digest]]]:
        """Yield the cases of complete runs, each with its number among all cases."""
        for number, case in enumerate(self.cases()):
            if case[0].row.status == COMPLETE:
                yield number, case


def sections(runs: Sequence[Digest]) -> list[Section]:
    """The runs by task and metric, sorted."""
    by_kind: dict[tuple[str, str, str], list[Digest]] = {}
    for run in sorted(runs, key=lambda run: (order(run.settings), run.row.seed, run.row.file)):
        kind = (run.row.task, run.row.metric_name, run.direction)
        by_kind.setdefault(kind, []).append(run)
    made = []
    for kind, members in sorted(by_kind.items()):
        common, varying = shared([run.settings for run in members])
        made.append(Section(*kind, members, common, varying))
    return made


def shared(
    settings: Sequence[Mapping[str, Setting]],
) -> tuple[dict[str, Setting], list[str]]:
    """The settings that are the same in all, those that say nothing left out; the others' names."""
    first = settings[0]
    same = {x for x in first if all(other[x] == first[x] for other in settings)}
    common = {x: first[x] for x in first if x in same and first[x] not in (None, "")}
    return common, [x for x in first if x not in same]


def median_run(case: Sequence[Digest]) -> Digest:
    """The run whose median step is the median of the case, the lower of two; never without."""
    timed = [run for run in case if not math.isnan(run.row.step_ms_p50)] or list(case)
    return sorted(timed, key=lambda run: run.row.step_ms_p50)[(len(timed) - 1) // 2]


def told(run: Digest, names: Sequence[str]) -> str:
    """Some settings of a run as a person says them, with commas between."""
    return ", ".join(setting_label(x, run.settings[x]) for x in names)


def depends_on(runs: Sequence[Digest], name: str, leader: str) -> bool:
    """Whether runs that share the leader's value share this setting's, too."""
    pairs = {(run.settings[leader], run.settings[name]) for run in runs}
    return len(pairs) == len({lead for lead, _ in pairs})


def order(settings: Mapping[str, Setting]) -> tuple[tuple[bool, bool, Any], ...]:
    """A key to sort by: numbers before texts before nothing."""
    return tuple((x is None, isinstance(x, str), 0 if x is None else x) for x in settings.values())


Place: TypeAlias = tuple[int, str, Fraction]


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
    found: dict[tuple[int, int, int, int, int, str], list[Digest]] = {}
    for run in runs:
        row = run.row
        at = (row.workers, row.ranks, row.batch, row.nodes, row.threads, row.binding)
        found.setdefault(at, []).append(run)
    return [Point(some, *at) for at, some in found.items()]


def mismatch(point: Point, base: Point) -> str:
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
