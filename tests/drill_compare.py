"""Drill in which bench.compare must detect a slowdown of 5 %: `python -m tests.drill_compare 2 10`.

Each of the 2 rounds launches bench.train on 2 ranks 10 times for each of three sides in
alternation: `base`, `again` with the same options, and `slow`, whose workers sleep for an
additional 5 % of a step. All sides sleep for a short time, so that the overhead of a sleep is the
same on each. Then bench.compare compares `again` and `slow` with `base`.
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

RANKS, SLOWDOWN, FLOOR_US = 2, 0.05, 100.0
JOB = ("--task", "digits", "--batch", "512", "--steps", "60", "--eval-every", "60")
"""Training with steps of several milliseconds; 5 % of one exceeds the error of a sleep by far."""


@dataclass(frozen=True)
class Outcome:
    """Result of bench.compare for one side and the base."""

    side: str
    verdict: str
    ratio: float
    low: float
    high: float
    p: float
    code: int


def launch(folder: Path, name: str, sleep_us: float) -> float:
    """Train once and return the median duration of a step in ms."""
    delay = f"probability=1,delay={sleep_us:.1f}us"
    result = train(RANKS, folder, *JOB, "--straggler", delay, "--name", name)
    if result.returncode:
        raise SystemExit(result.stderr)
    return float(load(folder / f"{name}.h5").row.step_ms_p50)


def round_of(folder: Path, launches: int) -> Iterator[Outcome]:
    """Launch all sides in alternation, print the spread of the launches, and compare the sides."""
    step_us = 1000 * launch(folder / "first", "first", FLOOR_US)
    sleeps = {"base": FLOOR_US, "again": FLOOR_US, "slow": FLOOR_US + SLOWDOWN * step_us}
    names = list(sleeps)
    steps: dict[str, list[float]] = {name: [] for name in names}
    for i in range(launches):
        for name in names[i % 3 :] + names[: i % 3]:
            steps[name].append(launch(folder / name, str(i), sleeps[name]))
    scatter = stdev(log(x) for x in steps["base"])
    print(f"step {step_us / 1000:.3f} ms, spread of the launches {scatter:.1%}", flush=True)
    for name in ("again", "slow"):
        yield comparison(folder, name)


def comparison(folder: Path, name: str) -> Outcome:
    """Compare a side with the base and return the outcome."""
    table = folder / f"{name}.csv"
    sides = [str(folder / "base"), str(folder / name)]
    with redirect_stdout(StringIO()):
        code = compare([*sides, "--ignore", "straggler", "--csv", str(table)])
    with open(table, newline="") as file:
        (row,) = csv.DictReader(file)
    ratio, low, high, p = (float(row[x]) for x in ("ratio", "ratio_low", "ratio_high", "p"))
    return Outcome(name, row["verdict"], ratio, low, high, p, code)


def main() -> int:
    """Run the drill, print one line per comparison and the counts, and return the exit code."""
    rounds, launches = (int(x) for x in (sys.argv[1:] + ["2", "10"][len(sys.argv) - 1 :])[:2])
    outcomes = []
    with tempfile.TemporaryDirectory() as place:
        for k in range(rounds):
            for outcome in round_of(Path(place) / str(k), launches):
                print(outcome, flush=True)
                outcomes.append(outcome)
    alarms = sum(x.side == "again" and x.verdict in ("slower", "faster") for x in outcomes)
    detections = sum(x.side == "slow" and x.verdict == "slower" for x in outcomes)
    print(
        f"{rounds} rounds: {alarms} false alarms, "
        f"a slowdown of {SLOWDOWN:.0%} detected {detections} times"
    )
    return 0 if detections == rounds and not alarms else 1


if __name__ == "__main__":
    sys.exit(main())
