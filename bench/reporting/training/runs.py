"""Training runs of a report: digests of files, sections with shared axes, cases and points."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.common.labels import Options, labels, with_controller
from bench.common.text import Setting, setting_label
from bench.reporting.training.about import everything
from bench.results import decisions, epochs
from bench.results.environment import SHA_DIGITS, input_sums
from bench.results.provenance import derive_from
from bench.results.reader import DIGESTED, Run, read
from bench.results.rows import TrainingRow
from bench.results.schema import COMPLETE

POINTS = 200
"""Maximum number of points of a curve."""
BINS = 60
"""Maximum number of parts of a run whose median steps show drift and noise."""
ATTRIBUTES = ("optimizer", "allreduce", "workers", "ranks", "batch")
PARAMS = ("steps", "dtype", "target", "eval_every", "warmup")
OPTIONAL = (
    *("epochs", "schedule", "clip", "accumulate", "patience", "wire", "controller", "pipeline"),
    *("device", "staleness", "data", "validation", "answer", "clock", "compute"),
    *("straggler", "drop", "link", "loss_bursts", "churn"),
)
"""Settings that are None where they are not given."""
DATA = "data sha256"
"""Setting that identifies the data."""
INPUTS = "inputs"
"""Setting that identifies the other files that a run reads."""
SOURCES = "sources"
"""Setting that identifies the user's own code."""
FOLLOWERS = {
    "controller": ("algorithm",),
    "hosts": ("ranks",),
    "binding": ("ranks",),
    INPUTS: ("partition", "algorithm"),
    SOURCES: ("algorithm",),
}
"""Setting -> settings from which it normally follows."""
UNRECORDED = ("arithmetic", INPUTS)
"""Settings that files before version 1.6 do not record."""


@dataclass(frozen=True)
class Digest:
    """One run without its raw steps, small enough to keep thousands in memory."""

    row: TrainingRow
    """Settings and derived numbers, Run.row()."""
    task: str
    """Task with the options of its label."""
    direction: str
    """`max` if a larger metric is better, else `min`."""
    settings: dict[str, Setting]
    """All settings but task and seed; equal settings make one case.

    Partition and algorithm are last, so that sorting by settings groups the algorithms.
    """
    interval: int
    """Steps from one exchange of parameters to the next; 1 if evaluations cannot be between two."""
    options: Options
    """Options of task, algorithm, partition and optimizer; empty for an old file."""
    curve: dict[str, NDArray[np.float64]]
    """step, elapsed_s, bytes (moved per worker), metric, consensus: one value per evaluation."""
    phase_ms: dict[str, float]
    """Time of a step in each phase, mean over ranks, ms; NaN without steps."""
    spread_ms: tuple[float, float]
    """5th and 95th percentile of the step; NaN without steps."""
    timed: int
    """Number of timed steps."""
    rank_ms: NDArray[np.float32]
    """(ranks, phases) float32, mean ms of the timed steps that the rank took; NaN without any."""
    rank_hosts: list[str]
    """Host of each rank; empty if the file does not contain it."""
    drift: NDArray[np.float32]
    """(at most BINS, 2) float32, last step of each part of the run and its median step in ms."""
    provenance: dict[str, str]
    """Label -> text: the command, the hosts and the software of the run."""
    decided: decisions.Decisions | None = None
    """Choices of the controller; None without one."""
    alive: NDArray[np.int64] | None = None
    """(changes, 2) int64, first step and the workers alive from it on; None if none ever died."""


def load(path: Path) -> Digest:
    """Read and digest a result file.

    Errors: BrokenFileError, also for a file whose parts do not fit together.
    """
    run = read(path, DIGESTED)
    return derive_from(path, lambda: digest(run))


def digest(run: Run) -> Digest:
    """Return the data of a run that the report needs."""
    row, params, timed = run.row(), run.params, int(run.timed.sum())
    settings: dict[str, Setting] = {name: run.attributes[name] for name in ATTRIBUTES}
    settings |= {name: params.get(name) for name in PARAMS}
    settings |= {name: params.get(name) or None for name in OPTIONAL}
    interval = _interval(run, params)
    at_steps = interval > 1 and "eval_at" not in params
    settings["eval_at"] = "step" if at_steps else None
    settings["threads"] = run.attributes.get("threads_per_rank")
    settings[DATA] = row.data_sha256[:SHA_DIGITS] or None
    recorded = "inputs_json" in run.attributes
    settings[INPUTS] = input_sums(run.attributes, SHA_DIGITS) if recorded else None
    sources = {x: str(sha)[:SHA_DIGITS] for x, sha in params.get(SOURCES, {}).items()}
    settings[SOURCES] = ", ".join(f"{x} {sha}" for x, sha in sorted(sources.items())) or None
    settings |= run.environment().settings()
    settings |= {name: run.attributes[name] for name in ("partition", "algorithm")}
    ms = run.step_ns() / 1e6
    low, high = np.quantile(ms, [0.05, 0.95]) if timed else (np.nan, np.nan)
    return Digest(
        row=row,
        task=row.task,
        direction=str(run.attributes["metric_direction"]),
        settings=settings,
        interval=interval,
        options=params.get("options", {}),
        curve=curve(run, POINTS),
        phase_ms=run.phase_ms(),
        spread_ms=(float(low), float(high)),
        timed=timed,
        rank_ms=_rank_ms(run),
        rank_hosts=[x.decode(errors="replace") for x in run.ranks.get("host", ())],
        drift=_drift(ms),
        provenance=everything(run),
        decided=decisions.read(run.path) if row.controller else None,
        alive=epochs.alive(epochs.read(run.path), row.workers) if row.deaths else None,
    )


def _interval(run: Run, params: Mapping[str, Any]) -> int:
    """Return the steps from one exchange of parameters to the next.

    Files before version 1.5 have no interval, but the period among the algorithm's options.
    """
    options = params.get("options", {}).get("algorithm", {})
    return int(run.attributes.get("exchange_interval", options.get("period", 1)))


def _rank_ms(run: Run) -> NDArray[np.float32]:
    spent = run.train["phase_ns"][run.timed].sum(0, dtype=float) / 1e6
    steps = run.step_mask()[run.timed].sum(0).astype(float)
    mean = spent / np.where(steps > 0, steps, np.nan)[:, None]
    return np.asarray(mean, np.float32).reshape(-1, spent.shape[1])


def _drift(ms: NDArray[np.float64]) -> NDArray[np.float32]:
    parts = [part for part in np.array_split(ms, BINS) if len(part)]
    ends = np.cumsum([len(part) for part in parts])
    rows = [(end, np.median(part)) for end, part in zip(ends, parts, strict=True)]
    return np.array(rows, np.float32).reshape(-1, 2)


def curve(run: Run, most: int) -> dict[str, NDArray[np.float64]]:
    """Return Digest.curve of at most `most` evaluations, evenly spaced."""
    evals, train = run.evals, run.train
    n = len(evals["step"])
    chosen = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int))
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
    """Runs of one task, one metric and one clock, which can share an axis."""

    task: str
    metric: str
    direction: str
    runs: list[Digest]
    """Sorted by conditions, then algorithms, then seeds."""
    common: dict[str, Setting]
    """Settings that all runs share, without empty ones."""
    varying: list[str]
    """Names of the settings that tell runs apart."""
    implied: list[str] = field(default_factory=list)
    """Names of settings that vary with the number of ranks only, and are in no label."""

    def summary(self) -> str:
        """Return the task and the shared settings as a text."""
        names = sorted(self.common, key=lambda x: x not in ("partition", "algorithm"))
        return ", ".join([self.task, *(setting_label(x, self.common[x]) for x in names)])

    def condition(self, run: Digest) -> str:
        """Return the varying settings except the algorithm as a text: `iid, 2 ranks`."""
        names = sorted(self.varying, key=lambda x: x != "partition")
        texts = [setting_label(x, run.settings[x]) for x in names if x != "algorithm"]
        return ", ".join(texts) or str(run.settings["partition"])

    def cases(self) -> list[list[Digest]]:
        """Group the complete runs by settings; each other run is a case of its own."""
        return [[self.runs[i] for i in case] for case in self.places]

    @cached_property
    def places(self) -> list[list[int]]:
        """Return the indices in `runs` of the runs of each case."""
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
    """Return the runs by task, metric and clock, sorted, with the options that tell them apart."""
    kinds = ("algorithm", "partition", "optimizer")
    names = [{"task": run.task} | {x: str(run.settings[x]) for x in kinds} for run in runs]
    spelled = labels([(x, run.options) for x, run in zip(names, runs, strict=True)])
    for run, texts in zip(runs, spelled, strict=True):
        controller = str(run.settings["controller"] or "")
        texts["algorithm"] = with_controller(texts["algorithm"], controller, run.options)
    runs = [
        replace(run, task=x.pop("task"), settings={**run.settings, **x})
        for run, x in zip(runs, spelled, strict=True)
    ]
    by_kind: dict[tuple[tuple[str, str, str], str], list[Digest]] = {}
    for run in sorted(runs, key=lambda run: (order(run.settings), run.row.seed, run.row.file)):
        kind = (run.task, run.row.metric_name, run.direction)
        by_kind.setdefault((kind, run.row.clock), []).append(run)
    result = []
    for (kind, _), some in sorted(by_kind.items()):
        members = _with_recorded(_with_one_evaluation(some))
        common, varying = shared([run.settings for run in members])
        led = [x for x, of in FOLLOWERS.items() if x in varying and depends_on(members, x, *of)]
        varying = [x for x in varying if x not in led]
        by_ranks = [x for x in led if FOLLOWERS[x] == ("ranks",)]
        result.append(Section(*kind, members, common, varying, by_ranks))
    return result


def _with_one_evaluation(runs: list[Digest]) -> list[Digest]:
    """Return the runs with one `eval_at` if all runs that have a choice agree on it.

    A run that exchanges parameters in every step has none: it can be compared with either.
    """
    choices = {run.settings["eval_at"] for run in runs if run.interval > 1}
    if len(choices) != 1:
        return runs
    (eval_at,) = choices
    return [replace(run, settings={**run.settings, "eval_at": eval_at}) for run in runs]


def _with_recorded(runs: list[Digest]) -> list[Digest]:
    """Return the runs with settings that their files do not record, from the others of the case.

    They stay unknown where the others disagree.
    """

    def case(run: Digest) -> Any:
        return order({x: y for x, y in run.settings.items() if x not in UNRECORDED})

    recorded: dict[tuple[str, Any], set[Setting]] = {}
    for run in runs:
        for name in UNRECORDED:
            values = recorded.setdefault((name, case(run)), set())
            values |= {run.settings[name]} - {None}
    result = []
    for run in runs:
        known = {name: recorded[name, case(run)] for name in UNRECORDED}
        settings = {x: next(iter(y)) if len(y) == 1 else run.settings[x] for x, y in known.items()}
        settings = {name: x or None for name, x in settings.items()}
        result.append(replace(run, settings={**run.settings, **settings}))
    return result


def shared(settings: Sequence[Mapping[str, Setting]]) -> tuple[dict[str, Setting], list[str]]:
    """Return the settings that are equal in all runs, without empty ones, and the other names."""
    first = settings[0]
    same = {x for x in first if all(other[x] == first[x] for other in settings)}
    common = {x: first[x] for x in first if x in same and first[x] not in (None, "")}
    return common, [x for x in first if x not in same]


def median_run(case: Sequence[Digest]) -> Digest:
    """Return the run whose time of a step is the median of the case, the lower of two."""
    timed = [run for run in case if not math.isnan(run.row.step_ms)] or list(case)
    return sorted(timed, key=lambda run: run.row.step_ms)[(len(timed) - 1) // 2]


def settings_label(run: Digest, names: Sequence[str]) -> str:
    """Return some settings of a run as a text, separated by commas."""
    return ", ".join(setting_label(x, run.settings[x]) for x in names)


def depends_on(runs: Sequence[Digest], name: str, *leaders: str) -> bool:
    """Report whether runs with equal values of the leaders have equal values of this setting."""
    pairs = {(tuple(run.settings[x] for x in leaders), run.settings[name]) for run in runs}
    return len(pairs) == len({lead for lead, _ in pairs})


def order(settings: Mapping[str, Setting]) -> tuple[tuple[bool, bool, Any], ...]:
    """Return a sort key: numbers before strings before None."""
    return tuple((x is None, isinstance(x, str), 0 if x is None else x) for x in settings.values())
