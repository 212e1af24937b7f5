"""Choice among the values of an option in one case, and the reasons to doubt it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from bench.common.labels import ALWAYS, full_spec, labels
from bench.common.spec import OUTER, with_option
from bench.common.text import NONE, Setting, counted
from bench.reporting.training.ranking import SHARES, rank, tie
from bench.reporting.training.runs import Digest
from bench.reporting.training.sections import order
from bench.results.schema import COMPLETE, DIVERGED

BEST = "best"
"""Text in the place of a chosen value."""


@dataclass(frozen=True)
class Candidate:
    """Value of the options, and its runs."""

    value: dict[str, Setting]
    """Option -> value."""
    runs: list[Digest]
    scores: list[float]
    """One per seed; infinite, on the worse side, for a diverged run."""

    @property
    def text(self) -> str:
        """Return the value as a text."""
        return value_text(self.value)


@dataclass(frozen=True)
class Choice:
    """Case with its candidates, the chosen one first."""

    case: Digest
    """A run of the case, with BEST in the place of the options to choose."""
    direction: str
    candidates: list[Candidate]
    notes: list[str]
    """Reasons to doubt the choice."""
    apart: bool
    """The chosen value is told apart from all others."""

    @property
    def chosen(self) -> Candidate:
        """Return the chosen candidate."""
        return self.candidates[0]


def value_of(run: Digest, option: str) -> Setting:
    """Return the value of an option of a run; None if it has none."""
    name, dot, key = option.partition(".")
    own = run.options.get(name, {})
    if dot:
        value: Setting = own.get(key)
        return value
    text = run.settings.get(name)
    return full_spec(text, own, ALWAYS[name]) if isinstance(text, str) and name in ALWAYS else text


def value_text(value: Mapping[str, Setting]) -> str:
    """Return the values of some options as a text; several options of specs with their names."""
    texts = {name: str(x) for name, x in value.items() if x is not None}
    if len(value) == 1:
        return next(iter(texts.values()), NONE)
    return OUTER.join(
        f"{name.partition('.')[2]}={x}" if "." in name else x for name, x in texts.items()
    )


def mask(run: Digest, options: Iterable[str]) -> Digest:
    """Return a run with BEST in the place of the options."""
    settings, own = dict(run.settings), {kind: dict(x) for kind, x in run.options.items()}
    for option in options:
        name, dot, key = option.partition(".")
        if value_of(run, option) is None:
            continue
        if not dot:
            settings[name], own[name] = BEST, {}
            continue
        own[name][key] = BEST
        settings[name] = with_option(str(settings[name]), key, BEST)
    return replace(run, settings=settings, options=own)


def spelled(cases: Sequence[Digest]) -> list[dict[str, Setting]]:
    """Return the settings of each case, with the options of labels."""
    kinds = [x for x in ALWAYS if x != "task"]
    texts = [{"task": x.task} | {kind: str(x.settings[kind]) for kind in kinds} for x in cases]
    parts = labels([(text, x.options) for text, x in zip(texts, cases, strict=True)])
    return [
        x.settings | {kind: part[kind] for kind in kinds}
        for x, part in zip(cases, parts, strict=True)
    ]


def sortable(values: Iterable[Setting]) -> tuple[tuple[bool, bool, object], ...]:
    """Return a sort key of a value of several options."""
    return order({str(i): x for i, x in enumerate(values)})


def choose(runs: Sequence[Digest], options: Sequence[str], split: str) -> Choice | None:
    """Return the choice among the runs of a case; None if no run has finished."""
    by_value: dict[tuple[Setting, ...], list[Digest]] = {}
    for run in runs:
        by_value.setdefault(tuple(value_of(run, x) for x in options), []).append(run)
    direction = runs[0].direction
    candidates, unfinished = [], 0
    for value, some in sorted(by_value.items(), key=lambda item: sortable(item[0])):
        finished = [run for run in some if run.row.status in (COMPLETE, DIVERGED)]
        unfinished += len(some) - len(finished)
        if finished:
            scores = scores_of(finished, split)
            candidates.append(Candidate(dict(zip(options, value, strict=True)), finished, scores))
    if not candidates:
        return None
    resolution = resolution_of(runs, split)
    ranking = rank([x.scores for x in candidates], direction, resolution)
    ranked = [candidates[i] for i in ranking.order]
    notes = [*edges(ranked), *ties(ranked, resolution), *_doubts(ranked)]
    if unfinished:
        notes.append(f"{counted(unfinished, 'unfinished run')} left out")
    return Choice(mask(runs[0], options), direction, ranked, notes, ranking.apart)


def scores_of(runs: Sequence[Digest], split: str) -> list[float]:
    """Return the score of each seed; infinite, on the worse side, if a run of it diverged."""
    worst = -math.inf if runs[0].direction == "max" else math.inf
    by_seed: dict[int, list[float]] = {}
    for run in runs:
        score = run.row.validation_metric if split == "validation" else run.row.metric
        diverged = run.row.status == DIVERGED or math.isnan(score)
        by_seed.setdefault(run.row.seed, []).append(worst if diverged else score)
    return [median(some) for some in by_seed.values()]


def resolution_of(runs: Sequence[Digest], split: str) -> float:
    """Return the smallest difference of scores that the split can show, one sample of it."""
    if runs[0].row.metric_name not in SHARES:
        return 0.0
    rows = [run.row for run in runs]
    samples = [x.validation_samples if split == "validation" else x.eval_samples for x in rows]
    return max((1 / n for n in samples if n), default=0.0)


def edges(ranked: Sequence[Candidate]) -> list[str]:
    """Return a note for each numeric option whose chosen value is at an end of the tried range."""
    notes = []
    tried = [numbers_of(x) for x in ranked]
    for name, value in tried[0].items():
        values = [numbers[name] for numbers in tried if name in numbers]
        if min(values) == max(values) or min(values) < value < max(values):
            continue
        end, way = ("largest", "larger") if value == max(values) else ("smallest", "smaller")
        notes.append(f"{end} {name.rpartition('.')[2]} tried: try {way} ones")
    return notes


def numbers_of(candidate: Candidate) -> dict[str, float]:
    """Return the numeric options of a value; those of a spec by the names of spec and option."""
    numbers = {}
    for name, value in candidate.value.items():
        options = candidate.runs[0].options.get(name, {})
        named = {f"{str(value).partition(':')[0]}.{key}": x for key, x in options.items()}
        for key, x in (named or {name: value}).items():
            if isinstance(x, int | float) and not isinstance(x, bool):
                numbers[key] = float(x)
    return numbers


def ties(ranked: Sequence[Candidate], resolution: float) -> list[str]:
    """Return a note with the values that are not told apart from the chosen one."""
    if len(ranked) == 1:
        return ["only one value tried"]
    reasons = {x.text: tie(ranked[0].scores, x.scores, resolution) for x in ranked[1:]}
    texts = [text for text, reason in reasons.items() if reason]
    if not texts:
        return []
    why = next(reason for reason in reasons.values() if reason)
    return [f"not told apart from {', '.join(texts)} ({why})"]


def _doubts(ranked: Sequence[Candidate]) -> list[str]:
    """Return notes on unequal seeds, and on a chosen value that diverged."""
    notes = []
    if len({frozenset(run.row.seed for run in x.runs) for x in ranked}) > 1:
        notes.append("values differ in their seeds")
    diverged = sum(run.row.status == DIVERGED for run in ranked[0].runs)
    if diverged:
        notes.append(f"{diverged} of {len(ranked[0].runs)} chosen runs diverged")
    return notes
