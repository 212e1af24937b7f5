"""Training of the candidates of a tuning sweep rung by rung, and the choice among them.

Runs of all rungs are result files in the folder RUNGS below that of the sweep, which reports leave
out; the runs of the chosen candidates with all steps are in the folder of the sweep. Every
promotion is computed from these files, so that a sweep that was stopped continues where it was.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from bench.common.files import RUNGS
from bench.common.spec import UserError
from bench.session.launch import on_all_ranks
from bench.sweep import running
from bench.sweep.candidates import Group, Outcomes, directions
from bench.sweep.halving import Tune, promote
from bench.sweep.plan import Case, Outcome

if TYPE_CHECKING:
    from mpi4py import MPI

    from bench.results.claims import Claim


@dataclass(frozen=True)
class History:
    """Candidates of a case that took part in each rung, and the chosen one."""

    group: Group
    entrants: list[list[int]]
    """Candidates of each rung so far, by index; empty for a rung that a single one skips."""
    chosen: int | None = None

    def ranking(self, rung: int, outcomes: Outcomes) -> tuple[list[float], str, float]:
        """Return medians of the entrants of a rung, their direction and their resolution."""
        trials = [self.group.trials[i] for i in self.entrants[rung]]
        results = [outcomes[case.hash] for trial in trials for case in trial.rungs[rung]]
        direction = next(iter(directions(results)), "max")
        resolutions = [x.resolution for x in results if isinstance(x, Outcome)]
        medians = [median(trial.scores(rung, outcomes)) for trial in trials]
        return medians, direction, max(resolutions, default=0.0)


def entrants_of(rung: int, history: History, tune: Tune, outcomes: Outcomes) -> list[int]:
    """Return the candidates of a rung, from the results of the rungs before.

    A single remaining candidate skips all rungs but the last.
    """
    if rung == 0:
        return list(range(len(history.group.trials)))
    before = max((k for k, some in enumerate(history.entrants) if some), default=0)
    last = history.entrants[before]
    if not last:
        return []
    medians, direction, resolution = history.ranking(before, outcomes)
    most = tune.promoted(len(history.group.trials), rung)
    promoted = [last[i] for i in promote(medians, direction, most, resolution)]
    return promoted if len(promoted) > 1 or rung == tune.rungs - 1 else []


def enter(
    comm: MPI.Intracomm,
    rung: int,
    tune: Tune,
    histories: Sequence[History],
    outcomes: Outcomes,
) -> list[History]:
    """Return the histories with the entrants of the next rung; collective.

    outcomes: of all entrants so far, on rank 0.
    """

    def decide() -> list[list[int]]:
        if comm.rank:
            return []
        return [entrants_of(rung, history, tune, outcomes) for history in histories]

    entrants = comm.bcast(on_all_ranks(comm, decide))
    return [
        replace(history, entrants=[*history.entrants, some])
        for history, some in zip(histories, entrants, strict=True)
    ]


def choose(history: History, outcomes: Outcomes) -> History:
    """Return the history with the best candidate of the last rung; none if all diverged."""
    rung = len(history.entrants) - 1
    last = history.entrants[rung]
    if not last:
        return history
    medians, direction, _ = history.ranking(rung, outcomes)
    best = promote(medians, direction, 1, 0.0)
    return replace(history, chosen=last[best[0]] if best else None)


def train_rung(
    comm: MPI.Intracomm,
    tune: Tune,
    histories: Sequence[History],
    out: Path,
    finished: Mapping[str, Outcome],
    results: list[Claim],
) -> tuple[dict[str, Outcome | str], bool]:
    """Train the entrants of the latest rung; return the outcomes as `running.run`; collective.

    The only entrant of the last rung is the chosen one, so its results are written into `out`.
    """
    cases: list[Case] = []
    rung = len(histories[0].entrants) - 1
    for history in histories:
        entrants = history.entrants[rung]
        for i in entrants:
            runs = history.group.trials[i].rungs[rung]
            alone = len(entrants) == 1 and rung == tune.rungs - 1
            cases += [_in_folder(case, out) for case in runs] if alone else runs
    if not cases:
        return {}, False
    there = {case.hash: finished[case.hash] for case in cases if case.hash in finished}
    progress = None
    if comm.rank == 0:
        progress = running.SweepLines(cases, there, tuning=True)
        steps = sorted({case.experiment.options.steps for case in cases})
        texts = " to ".join(f"{x:,}" for x in dict.fromkeys((steps[0], steps[-1])))
        line = f"rung {rung + 1} of {tune.rungs}, {texts} steps: {len(cases)} runs"
        progress.print_line(line + (f", {len(there)} there already" if there else ""))
    return running.run(comm, cases, there, results, progress)


def _in_folder(case: Case, out: Path) -> Case:
    experiment = case.experiment
    return replace(
        case, experiment=replace(experiment, options=replace(experiment.options, out=str(out)))
    )


def place(
    histories: Sequence[History],
    outcomes: dict[str, Outcome | str],
    out: Path,
    former: Mapping[str, Sequence[str]],
) -> list[str]:
    """Move results of all steps: those of chosen candidates to `out`, others to RUNGS below it.

    former: label of a case -> files in `out` of a candidate chosen among other values; those not
    chosen again are moved, too. Return a line if files were moved out of `out`. Errors: UserError.
    """
    moved = 0
    for history in histories:
        for i, trial in enumerate(history.group.trials):
            target = out if i == history.chosen else out / RUNGS
            for case in trial.rungs[-1]:
                outcome = outcomes.get(case.hash)
                if not isinstance(outcome, Outcome) or outcome.path.parent == target:
                    continue
                outcomes[case.hash] = replace(outcome, path=_move(outcome.path, target))
                moved += target != out
    chosen = {x.path for x in outcomes.values() if isinstance(x, Outcome)}
    for history in histories:
        for name in former.get(history.group.label, ()):
            if out / name not in chosen and (out / name).exists():
                _move(out / name, out / RUNGS)
                moved += 1
    if not moved:
        return []
    return [f"moved {moved} results with all steps of candidates not chosen to {out / RUNGS}"]


def _move(path: Path, folder: Path) -> Path:
    """Move a file into a folder; return its new path. Errors: UserError."""
    try:
        os.replace(path, folder / path.name)
    except OSError as error:
        raise UserError(
            f"{path} cannot be moved to {folder} ({error.strerror}): correct the rights, then "
            "repeat the command"
        ) from None
    return folder / path.name
