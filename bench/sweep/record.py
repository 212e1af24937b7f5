"""Record of a tuning sweep: its rungs as tune.json, as a table, and in sentences."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.common.files import RUNGS, TUNE_RECORD, write_whole
from bench.common.spec import UserError
from bench.common.text import NONE, TextTable, format_number, interval_line
from bench.reporting.training.choice import Candidate, edges, ties
from bench.reporting.training.ranking import rank
from bench.reporting.training.runs import load
from bench.results.schema import COMPLETE
from bench.sweep.candidates import Group, Outcomes, Trial
from bench.sweep.file import SweepFile
from bench.sweep.plan import Outcome
from bench.sweep.tuning import History

CHOSEN, ALL_LOST = "chosen", "every promoted candidate diverged or failed"


def spent(history: History, complete: int) -> int:
    """Return the steps of all runs of a case in the first rungs."""
    trials, entrants = history.group.trials, history.entrants[:complete]
    return sum(trials[i].steps(k) for k, some in enumerate(entrants) for i in some)


def full_grid(history: History) -> int:
    """Return the steps that all candidates of a case would take with all steps."""
    return sum(trial.steps(-1) for trial in history.group.trials)


def write(
    folder: Path,
    sweep: SweepFile,
    histories: Sequence[History],
    complete: int,
    outcomes: Outcomes,
) -> None:
    """Write the record of the first rungs into the folder of the sweep.

    complete: number of rungs of which all outcomes are known. Errors: UserError.
    """
    tune, former = sweep.tune, former_files(folder)
    assert tune is not None
    cases = [_case(history, complete, outcomes) for history in histories]
    for case in cases:
        case["files"] = case["files"] or former.get(case["case"], [])  # until others replace them
    record = {
        "sweep": str(sweep.path.resolve()),
        "candidates": tune.options,
        "eta": tune.eta,
        "rungs": tune.rungs,
        "cases": cases,
    }
    write_whole(folder / TUNE_RECORD, json.dumps(record, indent=1, allow_nan=False) + "\n")


def _case(history: History, complete: int, outcomes: Outcomes) -> dict[str, Any]:
    trials, chosen = history.group.trials, history.chosen
    rungs = []
    for k, entrants in enumerate(history.entrants[:complete]):
        last = next((some for some in history.entrants[k + 1 :] if some), [])
        rungs.append([_entrant(trials[i], k, i in last or i == chosen, outcomes) for i in entrants])
    runs = [outcomes.get(x.hash) for x in trials[chosen].rungs[-1]] if chosen is not None else []
    return {
        "case": history.group.label,
        "settings": history.group.settings,
        "rungs": rungs,
        "chosen": None if chosen is None else trials[chosen].value,
        "notes": notes(history, outcomes) if chosen is not None else [],
        "files": [x.path.name for x in runs if isinstance(x, Outcome)],
        "steps": spent(history, complete),
        "steps_full_grid": full_grid(history),
    }


def _entrant(trial: Trial, rung: int, promoted: bool, outcomes: Outcomes) -> dict[str, Any]:
    scores = trial.scores(rung, outcomes)
    return {
        "value": trial.value,
        "steps": trial.rungs[rung][0].experiment.steps,
        "seeds": [case.experiment.options.seed for case in trial.rungs[rung]],
        "case_hashes": [case.hash for case in trial.rungs[rung]],
        "scores": list(map(_finite, scores)),
        "median": _finite(median(scores)),
        "promoted": promoted,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def check_folder(path: Path, sweep: Path) -> None:
    """Refuse a folder with the record of another sweep. Errors: UserError."""
    try:
        before = json.loads((path / TUNE_RECORD).read_text())["sweep"]
    except (OSError, ValueError, KeyError, TypeError):
        return  # no record, or a damaged one, which is written again from the results
    if before != str(sweep.resolve()) and Path(before).exists():
        raise UserError(f"{path} holds the tuning of {before}: give another --out")


def former_files(folder: Path) -> dict[str, list[str]]:
    """Return, by label, the files of the candidate chosen when the folder was last tuned."""
    try:
        cases = json.loads((folder / TUNE_RECORD).read_text())["cases"]
        return {str(case["case"]): list(map(str, case["files"])) for case in cases}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _contested(history: History) -> int:
    """Return the last rung in which the chosen candidate had a rival."""
    return max((k for k, some in enumerate(history.entrants) if len(some) > 1), default=0)


def _ranked(
    history: History, rung: int, entrants: Sequence[int], outcomes: Outcomes
) -> list[Candidate]:
    """Return candidates with the scores of a rung, the chosen one first."""
    candidates = []
    for i in sorted(entrants, key=lambda i: i != history.chosen):
        trial = history.group.trials[i]
        results = [outcomes[case.hash] for case in trial.rungs[rung]]
        runs = [load(x.path) for x in results if isinstance(x, Outcome)]
        if runs:
            candidates.append(Candidate(trial.value, runs, trial.scores(rung, outcomes)))
    return candidates


def notes(history: History, outcomes: Outcomes) -> list[str]:
    """Return the reasons to doubt the choice of a case."""
    rung = _contested(history)
    _, _, resolution = history.ranking(rung, outcomes)
    rivals = _ranked(history, rung, history.entrants[rung], outcomes)
    every = _ranked(history, 0, history.entrants[0], outcomes)
    return [*edges(every), *(ties(rivals, resolution) if len(rivals) > 1 else [])]


def sentence(history: History, outcomes: Outcomes) -> str:
    """Return the choice of a case, its margin, and the doubts."""
    trials, chosen = history.group.trials, history.chosen
    if chosen is None:
        return f"{history.group.label}: {ALL_LOST}"
    rung = _contested(history)
    entrants = history.entrants[rung]
    scores = [trials[i].scores(rung, outcomes) for i in entrants]
    medians, direction, resolution = history.ranking(rung, outcomes)
    order = rank(scores, direction, resolution).order
    second = next((k for k in order if entrants[k] != chosen and math.isfinite(medians[k])), None)
    first = entrants.index(chosen)
    steps = trials[chosen].rungs[rung][0].experiment.options.steps
    margin = "the others diverged or failed"
    if second is not None:
        margin = f"{format_number(medians[first])} against {format_number(medians[second])} of "
        margin += trials[entrants[second]].text
    text = f"{history.group.label}: {trials[chosen].text}, {margin} after {steps:,} steps"
    return "; ".join([text, *notes(history, outcomes)])


def table(histories: Sequence[History], outcomes: Outcomes) -> TextTable:
    """Return one row per candidate, with its score in each rung."""
    names = list(histories[0].group.settings)
    rungs = range(len(histories[0].entrants))
    rows = []
    for history in histories:
        for i, trial in enumerate(history.group.trials):
            settings = [NONE if x is None else str(x) for x in history.group.settings.values()]
            cells = [
                _score(trial.scores(k, outcomes)) if i in history.entrants[k] else NONE
                for k in rungs
            ]
            choice = CHOSEN if i == history.chosen else ""
            rows.append([*settings, trial.text, choice, *cells])
    steps = sum(spent(x, len(rungs)) for x in histories)
    grid = sum(map(full_grid, histories))
    titles = step_titles([x.group for x in histories], rungs)
    return TextTable(
        heading="Tuning: score on the validation split by rung",
        header=[*(x.replace("_", " ") for x in names), "candidate", "choice", *titles],
        rows=rows,
        states=[COMPLETE] * len(rows),
        words=len(names) + 2,
        foot=[
            "score: median over the seeds [smallest, largest] of the mean model's metric on the "
            "validation split",
            f"{steps:,} steps trained, {100 * steps / grid:.0f} % of the {grid:,} of a full grid; "
            f"short runs are in {RUNGS}/, the record is {TUNE_RECORD}",
        ],
    )


def step_titles(groups: Sequence[Group], rungs: Iterable[int]) -> list[str]:
    """Return the steps of each rung, or its number if cases differ in their steps."""
    titles = []
    for k in rungs:
        cases = [trial.rungs[k][0] for group in groups for trial in group.trials]
        runs = {case.experiment.options.steps for case in cases}
        titles.append(f"{min(runs):,} steps" if len(runs) == 1 else f"rung {k + 1}")
    return titles


def _score(scores: Sequence[float]) -> str:
    if not math.isfinite(median(scores)):
        return "diverged"
    several = interval_line(min(scores), max(scores)) if len(scores) > 1 else ""
    return format_number(median(scores)) + several
