"""Drill that compares the model clock with real ranks: `python -m tests.drill_clock clock.csv`.

The first call measures a step without exchange and every case on 2 ranks, fits one number to them,
the overhead of a message, and writes the predicted steps of 4, 8 and 16 ranks. The second call
finds these predictions and trains on so many ranks. Commit the file in between: a prediction is one
only if it is older than the measurement.
"""

import csv
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median

from bench.reporting.training.runs import load
from tests.launching import train

ALGORITHMS = {
    "allreduce_sgd": "ring",
    "local_sgd:period=8": "recursive_doubling",
    "push_sum": "ring",
}
"""All-reduce by algorithm; push-sum sends to one peer and needs none."""
LINKS = ((20e-3, "10MB/s"), (5e-3, "2MB/s"))
"""Latency in seconds, and bandwidth: a message of the model takes 4 and 19 ms of it."""
FITTED, PREDICTED = 2, (4, 8, 16)
"""Numbers of ranks."""
JOB = ("--task", "digits", "--batch", "4", "--steps", "40", "--warmup", "8", "--eval-every", "40")
"""Training whose gradient is short beside a message: up to 16 ranks share the cores."""
WORST, TYPICAL = 0.08, 0.03
"""Maximum and median relative error that the drill accepts."""


@dataclass(frozen=True)
class Case:
    """One step time by the model, and measured; 0 before it is. Times in ms."""

    algorithm: str
    allreduce: str
    latency_s: float
    bandwidth: str
    ranks: int
    predicted_ms: float = 0.0
    measured_ms: float = 0.0

    @property
    def error(self) -> float:
        """Relative error of the prediction."""
        return self.predicted_ms / self.measured_ms - 1

    def options(self, overhead_s: float = 0.0) -> tuple[str, ...]:
        """Return the options of bench.train; overhead_s: of each message, added to the latency."""
        latency = f"{(self.latency_s + overhead_s) * 1e6:.1f}us"
        link = f"latency={latency},bandwidth={self.bandwidth}"
        choice = ("--algorithm", self.algorithm, "--allreduce", self.allreduce)
        return *choice, "--link", link


def step_ms(folder: Path, ranks: int, *options: str) -> float:
    """Train once and return the elapsed time over the steps, in ms."""
    name = str(len(list(folder.glob("*.h5"))))
    result = train(ranks, folder, *JOB, *options, "--name", name)
    if result.returncode:
        raise SystemExit(result.stderr)
    return float(load(folder / f"{name}.h5").row.step_ms)


def measured(folder: Path, case: Case) -> Case:
    """Return a case with its step on real ranks, and print it."""
    case = replace(case, measured_ms=step_ms(folder, case.ranks, *case.options()))
    print(case, flush=True)
    return case


def predict(folder: Path) -> list[Case]:
    """Return all cases with their predictions, those of FITTED ranks also measured."""
    alone = step_ms(folder, FITTED, "--algorithm", "local_sgd:period=0")
    print(f"a step without exchange: {alone:.3f} ms", flush=True)

    def modelled(case: Case, overhead_s: float = 0.0) -> float:
        clock = ("--clock", "model", "--compute", f"{alone * 1000:.1f}us")
        return step_ms(folder, 1, "--workers", str(case.ranks), *clock, *case.options(overhead_s))

    cases = [
        Case(algorithm, allreduce, *link, ranks)
        for algorithm, allreduce in ALGORITHMS.items()
        for link in LINKS
        for ranks in (FITTED, *PREDICTED)
    ]
    cases = [measured(folder, x) if x.ranks == FITTED else x for x in cases]
    overheads = []
    for case in cases:
        if case.ranks == FITTED:
            bare = modelled(case)
            messages = modelled(case, 1e-3) - bare  # consecutive ones of a step: 1 ms longer each
            overheads.append((case.measured_ms - bare) / messages)
    overhead_ms = median(overheads)
    spread = f"{min(overheads):.3f} to {max(overheads):.3f}"
    print(f"overhead of a message: {overhead_ms:.3f} ms, median of {spread}", flush=True)
    return [replace(x, predicted_ms=round(modelled(x, overhead_ms / 1000), 3)) for x in cases]


def verdict(cases: list[Case]) -> int:
    """Print the errors, and return the exit code."""
    errors = [abs(case.error) for case in cases if case.ranks != FITTED]
    print(
        f"{len(errors)} cases: error {median(errors):.1%} in the median, {max(errors):.1%} at most"
    )
    return 0 if median(errors) <= TYPICAL and max(errors) <= WORST else 1


def main() -> int:
    """Predict, or measure where predictions exist; write the file and return the exit code."""
    path = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        known = path.exists()
        cases = _read(path) if known else predict(folder)
        if known:
            cases = [x if x.ranks == FITTED else measured(folder, x) for x in cases]
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(asdict(cases[0])))
        writer.writeheader()
        writer.writerows(asdict(case) for case in cases)
    if known:
        return verdict(cases)
    print(f"predictions in {path}: commit them, then run this again")
    return 0


def _read(path: Path) -> list[Case]:
    """Read the cases of a file."""
    types = {"ranks": int, "latency_s": float, "predicted_ms": float, "measured_ms": float}
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return [Case(**{key: types.get(key, str)(x) for key, x in row.items()}) for row in rows]


if __name__ == "__main__":
    sys.exit(main())
