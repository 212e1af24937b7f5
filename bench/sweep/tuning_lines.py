"""Output of a tuning sweep: its plan, and the chosen candidates with the table of the sweep."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from bench.common.summary import summarise
from bench.common.text import NONE, TextTable, counted, printable
from bench.reporting.terminal import terminal as show_table
from bench.results.schema import COMPLETE
from bench.session.launch import write_stderr
from bench.sweep import running, tuning
from bench.sweep.candidates import Plan
from bench.sweep.file import SweepFile
from bench.sweep.plan import Case, Outcome, seeds_of
from bench.sweep.record import former_files, sentence, step_titles, table, write
from bench.sweep.tuning import History


def announce(
    plan: Plan,
    sweep: SweepFile,
    finished: Collection[str],
    broken: Sequence[str],
    out: Path,
) -> None:
    """Print what will be trained, before the first rung."""
    terminal = running.console()
    for line in [*_planned(plan, sweep), *(f"note: unreadable result: {x}" for x in broken)]:
        terminal.print(printable(line), markup=False, soft_wrap=True)
    there = f", {len(finished)} runs there already" if finished else ""
    terminal.print(f"results in {out}{there}", markup=False, soft_wrap=True)


def _planned(plan: Plan, sweep: SweepFile) -> list[str]:
    """Return the numbers of cases, candidates, rungs and steps."""
    tune = sweep.tune
    assert tune is not None
    cases, candidates = len(plan.groups), len(tune.candidates())
    lines = [f"note: {sweep.supplied}"] if sweep.supplied else []
    lines.append(
        f"tuning {', '.join(tune.options)}: {counted(cases, 'case')}, {candidates} "
        f"candidates each, {tune.rungs} rungs, eta {tune.eta}"
    )
    total = 0
    for rung in range(tune.rungs):
        runs = steps = 0
        for group in plan.groups:
            some = group.trials[: tune.promoted(len(group.trials), rung)]
            runs += sum(len(x.rungs[rung]) for x in some)
            steps += sum(x.steps(rung) for x in some)
        total += steps
        (title,) = step_titles(plan.groups, [rung])
        lines.append(f"rung {rung + 1}: {title}, {runs:,} runs, {steps:,} steps in all")
    grid = sum(trial.steps(-1) for group in plan.groups for trial in group.trials)
    lines.append(
        f"{total:,} steps, {100 * total / grid:.0f} % of the {grid:,} of a full grid; more if "
        "candidates are within one validation sample"
    )
    return lines


def show_plan(plan: Plan, sweep: SweepFile, finished: Collection[str]) -> None:
    """Print the cases with their candidates, and the rungs."""
    refused = [f"{case}: {case.refused}" for case in plan.refused]
    summarise(cases=len(plan.groups), finished=len(finished), refused=refused)
    terminal = running.console()
    names = list(plan.groups[0].settings)
    rows = []
    for group in plan.groups:
        runs = [case.hash for trial in group.trials for rung in trial.rungs for case in rung]
        done = sum(x in finished for x in runs)
        seeds = seeds_of(group.trials[0].rungs[0]).partition(" ")[2]
        settings = [NONE if x is None else str(x) for x in group.settings.values()]
        texts = "; ".join(trial.text for trial in group.trials)
        rows.append([*settings, texts, seeds, f"{done} there" if done else "to run"])
    header = [*(x.replace("_", " ") for x in names), "values", "seeds", "state"]
    table_ = TextTable("", header, rows, [COMPLETE] * len(rows), len(header))
    terminal.print(show_table(table_))
    for line in refused:
        terminal.print(printable(f"refused: {line}"), markup=False, soft_wrap=True)
    terminal.print()
    for line in _planned(plan, sweep):
        terminal.print(printable(line), markup=False, soft_wrap=True)


def conclude(
    plan: Plan,
    sweep: SweepFile,
    histories: Sequence[History],
    outcomes: dict[str, Outcome | str],
    out: Path,
    files: Mapping[str, Path],
    *,
    show: bool = True,
) -> int:
    """Choose, move and record; print the choices and the table of the sweep; return the exit code.

    For rank 0. Errors: UserError where a file cannot be written.
    """
    assert sweep.tune is not None
    chosen = [tuning.choose(history, outcomes) for history in histories]
    moved = tuning.place(chosen, outcomes, out, former_files(out))
    write(out, sweep, chosen, sweep.tune.rungs, outcomes)
    terminal = running.console()
    if show:
        summary = table(chosen, outcomes)
        terminal.print(f"\n{summary.heading}:\n", markup=False)
        terminal.print(show_table(summary))
        for line in summary.foot:
            terminal.print(line, markup=False, soft_wrap=True)
    terminal.print("\nChoices:", markup=False)
    for line in [*(f"- {sentence(x, outcomes)}" for x in chosen), *moved]:
        terminal.print(printable(line), markup=False, soft_wrap=True)
    cases: list[Case] = []
    final: dict[str, Outcome | str] = {}
    for history in chosen:
        last = history.group.trials[history.chosen or 0].rungs[-1]
        cases += last
        if history.chosen is not None:
            final |= {case.hash: outcomes[case.hash] for case in last}
    tuned = list(sweep.tune.options)
    code = running.conclude([*cases, *plan.refused], final, out, files, show=show, tuned=tuned)
    failed = [
        case
        for history in chosen
        for k, entrants in enumerate(history.entrants)
        for i in entrants
        for case in history.group.trials[i].rungs[k]
        if case.hash not in final and isinstance(outcomes[case.hash], str)
    ]
    for case in failed:
        text = f"failed: {case}, {case.experiment.options.steps} steps: {outcomes[case.hash]}"
        terminal.print(printable(text), markup=False, soft_wrap=True)
    if failed:
        write_stderr(
            f"error: {len(failed)} runs of candidates failed: each is listed above with its reason"
        )
    return 1 if failed else code
