"""The plan of a sweep as a table: what runs where, for how long at most, and what is there."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from statistics import median

from rich import box
from rich.table import Table
from rich.text import Text

from bench.common.text import printable
from bench.results import contents
from bench.results.reader import BrokenFileError
from bench.results.schema import COMPLETE
from bench.sweep.running import console
from slurm.case import TRAIN, Case
from slurm.plan import USUAL, kin

WANTED = ("status", "params_json", "ranks", "attempt", "created_utc", "closed_utc")


def seconds(folder: Path, kins: Collection[str]) -> dict[str, list[float]]:
    """The times of complete runs, the start of the program left out, by the kin of their case.

    Runs that went on after a break are left out, and files that cannot be read.
    """
    found: dict[str, list[float]] = {}
    for path in sorted(folder.glob("[!.]*.h5")):
        try:
            whose, took = _one(path)
        except (BrokenFileError, KeyError, ValueError, TypeError, AttributeError):
            continue
        if whose in kins:
            found.setdefault(whose, []).append(took)
    return found


def _one(path: Path) -> tuple[str, float]:
    """The kin of a result and its time; no kin where the time says nothing."""
    with contents.opened(path) as file:
        said = contents.attributes(file, WANTED)
    if said["status"] != COMPLETE or int(said.get("attempt", 1)) > 1:
        return "", 0.0
    began, ended = (datetime.fromisoformat(said[x]) for x in ("created_utc", "closed_utc"))
    whose = kin(json.loads(said["params_json"]), int(said["ranks"]))
    return whose, (ended - began).total_seconds()


Times = Mapping[str, Sequence[float]]
"""Kin of a case -> seconds of its runs that are there."""
TO_RUN = "to run"


def show(cases: Sequence[Case], states: Mapping[str, str], folder: Path) -> None:
    """Print a row for all cases that differ in nothing but the seed, reasons, and the sum.

    states: case hash -> how it stands; a case that has none is to run. Results in the folder say
    how long cases take.
    """
    took = seconds(folder, {case.kin for case in cases})
    shown = console()
    shown.print(table(cases, states, took))
    shown.print()
    reasons = {f"refused: {_called(case)}: {case.refused}": None for case in cases if case.refused}
    for line in (*reasons, total(cases, states, took)):
        shown.print(printable(line), markup=False, soft_wrap=True)


def table(cases: Sequence[Case], states: Mapping[str, str], took: Times) -> Table:
    """A row for all cases that differ in nothing but the seed."""
    names = varying(cases)
    threads = any(case.geometry.threads > 1 for case in cases)
    left = [*names, "seeds"]
    right = ["ranks", "nodes", *(["cores a rank"] if threads else []), "minutes"]
    right += ["node-hours", *(["estimate"] if took else [])]
    made = Table(box=box.SIMPLE_HEAD, padding=(0, 1), show_edge=False)
    for name in (*left, *right, "state"):
        title = Text(printable(name.replace("_", " ")))
        made.add_column(title, justify="right" if name in right else "left", overflow="fold")
    for some in rows(cases):
        place, case = some[0].geometry, some[0]
        todo = [x for x in some if _state(x, states) == TO_RUN]
        cells = [value(case, name) for name in names]
        cells += [seeds(some), str(place.ranks), str(place.nodes)]
        cells += [str(place.threads)] if threads else []
        cells += [str(place.minutes), short(_most(todo)) if todo else ""]
        cells += [short(x) if (x := _about(todo, took)) else ""] if took else []
        made.add_row(*map(Text, map(printable, [*cells, _stand(some, states)])))
    return made


def varying(cases: Sequence[Case]) -> list[str]:
    """The options in which cases differ but for the seed, and the program where it does."""
    names = dict.fromkeys(name for case in cases for name in case.options if name != "seed")
    several = ["program"] if len({case.program for case in cases}) > 1 else []
    found = [name for name in names if len({value(case, name) for case in cases}) > 1]
    return several + found or (["algorithm"] if cases[0].program == TRAIN else ["program"])


def value(case: Case, name: str) -> str:
    """The value of an option of a case, the program's own where the case gives none."""
    if name == "program":
        return case.program
    return case.options.get(name, USUAL[case.program].get(name, ""))


def rows(cases: Sequence[Case]) -> list[list[Case]]:
    """The cases that differ in nothing but the seed together, in the order of the file."""
    made: dict[tuple[object, ...], list[Case]] = {}
    for case in cases:
        place = replace(case.geometry, part=0)
        made.setdefault((case.kin, place, case.refused), []).append(case)
    return list(made.values())


def seeds(cases: Sequence[Case]) -> str:
    """The seeds of some cases: `0`, `0, 1, 2`, `0 ... 99`."""
    found = [value(case, "seed") for case in cases]
    return ", ".join(found) if len(found) <= 5 else f"{found[0]} ... {found[-1]}"


def total(cases: Sequence[Case], states: Mapping[str, str], took: Times) -> str:
    """How many cases there are, how they stand, and what those to run take at most."""
    counts = Counter(_state(case, states) for case in cases)
    parts = [f"{n} {state}" for state, n in counts.items()]
    todo = [case for case in cases if _state(case, states) == TO_RUN]
    line = f"{len(cases)} case{'s' if len(cases) != 1 else ''}: {', '.join(parts)}"
    if todo:
        line += f"; at most {short(_most(todo))} node-hours"
    known = [case for case in todo if case.kin in took]
    if known:
        share = "" if len(known) == len(todo) else f" for {len(known)} of them"
        line += f", some {short(_about(known, took))}{share} by the results that are there"
    return line


def short(hours: float) -> str:
    """Hours as a person reads them: `0.08`, `1.5`, `120`."""
    return f"{hours:.2g}" if hours < 9.95 else f"{hours:,.0f}"


def _most(cases: Sequence[Case]) -> float:
    return sum(case.geometry.node_hours for case in cases)


def _about(cases: Sequence[Case], took: Times) -> float:
    """Node-hours by the median of the results that are there; 0 where there are none."""
    known = [case for case in cases if case.kin in took]
    return sum(case.geometry.nodes * median(took[case.kin]) / 3600 for case in known)


def _state(case: Case, states: Mapping[str, str]) -> str:
    return "refused" if case.refused else states.get(case.hash, TO_RUN)


def _stand(cases: Sequence[Case], states: Mapping[str, str]) -> str:
    counts = Counter(_state(case, states) for case in cases)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{n} {state}" for state, n in counts.items())


def _called(case: Case) -> str:
    """What a case is but for the seed."""
    return case.label.rpartition(", seed ")[0] or case.label
