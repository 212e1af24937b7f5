"""What can be compared: a number a launch, by the program that measures it."""

from __future__ import annotations

from dataclasses import dataclass

from bench.common.spec import unknown_name

LEAST = 0.02
"""A difference of times, bytes or counts below this part is none."""


@dataclass(frozen=True)
class Metric:
    """A number that a launch gives for each of its cases."""

    name: str
    program: str
    column: str
    """Where a row of the program's report has it."""
    unit: str
    """Of the number: B is told in powers of 1000."""
    text: str
    """What the number of a launch is."""
    seeded: bool = False
    """Whether the seed decides it: launches of one seed are then the same launch again."""
    missed: bool = False
    """Whether a run that diverged has missed it, which is worse than any number."""
    scored: bool = False
    """Whether it is the task's metric, for which the file says what is better; no part is small."""

    @property
    def least(self) -> float:
        """The part below which a difference is none, unless the user says another."""
        return 0.0 if self.scored else LEAST

    @property
    def words(self) -> tuple[str, str]:
        """What B is called where it is better, and where it is worse."""
        return ("faster", "slower") if self.unit in ("us", "ms", "s") else ("better", "worse")


def _train(name: str, column: str, unit: str, text: str, *flags: str) -> Metric:
    return Metric(name, "bench.train", column, unit, text, **dict.fromkeys(flags, True))


_ALL = (
    _train("step_ms", "step_ms_p50", "ms", "median step on its slowest rank"),
    _train("exchange_ms", "exchange_ms", "ms", "exposed exchange a step and rank, mean"),
    _train("elapsed_s", "elapsed_s", "s", "training time, evaluations left out"),
    _train("s_per_sample", "s_per_sample", "s", "training time a sample"),
    _train("time_to_target_s", "time_to_target_s", "s", "training time to --target", "missed"),
    _train("steps_to_target", "steps_to_target", "", "steps to --target", "seeded", "missed"),
    _train("samples_to_target", "samples_to_target", "", "samples to --target", "seeded", "missed"),
    _train("bytes_to_target", "bytes_to_target", "B", "bytes to --target", "seeded", "missed"),
    _train("bytes_per_step", "bytes_per_step", "B", "bytes a worker and step", "seeded"),
    _train("metric", "metric", "", "the task's metric of the mean model", "seeded", "scored"),
    _train("metric_mean", "metric_mean", "", "mean of the workers' metrics", "seeded", "scored"),
    _train("metric_worst", "metric_worst", "", "metric of the worst worker", "seeded", "scored"),
    _train("loss", "loss", "", "held-out loss of the mean model", "seeded"),
    _train("consensus", "consensus", "", "consensus distance at the end", "seeded"),
    Metric("p50_us", "bench.collectives", "p50_us", "us", "median call on its slowest rank"),
    Metric("p99_us", "bench.collectives", "p99_us", "us", "99th percentile of the calls"),
    Metric("round_us", "bench.consensus", "us_per_round_p50", "us", "median round, slowest rank"),
    Metric("ms_to_1e6", "bench.consensus", "ms_to_1e6", "ms", "time to an error of 1e-6"),
    Metric("rounds_to_1e6", "bench.consensus", "rounds_to_1e6", "", "rounds to 1e-6", True),
    Metric("bytes_to_1e6", "bench.consensus", "bytes_to_1e6", "B", "bytes to 1e-6", True),
)
METRICS = {metric.name: metric for metric in _ALL}


def wanted(name: str) -> dict[str, Metric]:
    """The metric of each program that is compared: the named one, or the first of every program.

    Errors: UserError for an unknown name.
    """
    if name and name not in METRICS:
        raise unknown_name("metric", name, METRICS)
    chosen = [METRICS[name]] if name else _ALL[::-1]
    return {metric.program: metric for metric in chosen}


def told() -> str:
    """Every name by its program, for --help."""
    names: dict[str, list[str]] = {}
    for metric in _ALL:
        names.setdefault(metric.program.removeprefix("bench."), []).append(metric.name)
    return "; ".join(f"{program}: {', '.join(some)}" for program, some in names.items())
