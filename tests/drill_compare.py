"""Drill of bench.compare: `python -m tests.drill_compare 2 10` detects 5 % in real launches.

Each of the 2 rounds launches bench.train on 2 ranks 10 times for each of three sides, in turns:
`base`, `again` with the same settings, and `slow` with workers that sleep for 5 % of a step more.
All sides sleep a little, so the overhead of a sleep is on every side. Then bench.compare compares
`again` and `slow` with `base`.
"""

import csv
import sys
import tempfile
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from math import log
from pathlib import Path
from statistics import stdev

from bench.compare.__main__ import main as compare
from bench.reporting.training.runs import load
from tests.launching import train

RANKS, PART, FLOOR_US = 2, 0.05, 100.0
JOB = ("--task", "digits", "--batch", "512", "--steps", "60", "--eval-every", "60")
"""Options for steps of some milliseconds: 5 % of them is far above the error of a sleep."""


@dataclass(frozen=True)
class Outcome:
    """Result of bench.compare for one side against the base."""

    side: str
    verdict: str
    ratio: float
    low: float
    high: float
    p: float
    code: int


def launch(folder: Path, name: str, sleep_us: float) -> float:
    """Train once; return the median step in ms."""
    late = f"probability=1,delay={sleep_us:.1f}us"
    done = train(RANKS, folder, *JOB, "--straggler", late, "--name", name)
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(load(folder / f"{name}.h5").row.step_ms_p50)


def round_of(folder: Path, launches: int) -> Iterator[Outcome]:
    """Launch all sides in turns, print the scatter of launches, and yield the comparisons."""
    step_us = 1000 * launch(folder / "first", "first", FLOOR_US)
    sleeps = {"base": FLOOR_US, "again": FLOOR_US, "slow": FLOOR_US + PART * step_us}
    names = list(sleeps)
    steps: dict[str, list[float]] = {name: [] for name in names}
    for i in range(launches):
        for name in names[i % 3 :] + names[: i % 3]:
            steps[name].append(launch(folder / name, str(i), sleeps[name]))
    scatter = stdev(log(x) for x in steps["base"])
    print(f"step {step_us / 1000:.3f} ms, launches scatter by {scatter:.1%}", flush=True)
    for name in ("again", "slow"):
        yield comparison(folder, name)


def comparison(folder: Path, name: str) -> Outcome:
    """Compare a side with the base by bench.compare."""
    table = folder / f"{name}.csv"
    sides = [str(folder / "base"), str(folder / name)]
    with redirect_stdout(StringIO()):
        code = compare([*sides, "--ignore", "straggler", "--csv", str(table)])
    with open(table, newline="") as file:
        (row,) = csv.DictReader(file)
    ratio, low, high, p = (float(row[x]) for x in ("ratio", "ratio_low", "ratio_high", "p"))
    return Outcome(name, row["verdict"], ratio, low, high, p, code)


def main() -> int:
    """Run the drill, print one line per comparison and the counts; return the exit code."""
    rounds, launches = (int(x) for x in (sys.argv[1:] + ["2", "10"][len(sys.argv) - 1 :])[:2])
    outcomes = []
    with tempfile.TemporaryDirectory() as place:
        for k in range(rounds):
            for outcome in round_of(Path(place) / str(k), launches):
                print(outcome, flush=True)
                outcomes.append(outcome)
    alarms = sum(x.side == "again" and x.verdict in ("slower", "faster") for x in outcomes)
    detections = sum(x.side == "slow" and x.verdict == "slower" for x in outcomes)
    print(f"{rounds} rounds: {alarms} false alarms, {detections} slowdowns of {PART:.0%} shown")
    return 0 if detections == rounds and not alarms else 1


if __name__ == "__main__":
    sys.exit(main())
