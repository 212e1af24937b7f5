"""Reports of runs with a controller: choices, gain or loss against fixed options, regret."""

from pathlib import Path
from typing import Any

import h5py
import pytest

from bench.reporting.training.controlled import cases, regret, sentences
from bench.reporting.training.controlled_charts import figures
from bench.reporting.training.runs import load
from bench.reporting.training.sections import Section, sections
from bench.results.decisions import Decided, append
from tests.bench.made_runs import make


def run(
    path: Path, period: int, metric: float, seed: int, controller: str = "", **more: Any
) -> Path:
    """Write a run of local_sgd; one with a controller chooses 2 for 5 steps, 16 for 15."""
    options: dict[str, Any] = {"algorithm": {"period": period}}
    if controller:
        options["controller"] = {"option": "period"}
        more["controller"] = controller
    more["params"] = {"options": options, "controller": controller, **more.get("params", {})}
    make(path, algorithm=f"local_sgd:period={period}", metric=metric, seed=seed, **more)
    if controller:
        with h5py.File(path, "r+") as file:
            for arm, first, steps in ((0, 0, 5), (1, 5, 15)):
                columns = {"first": first, "steps": steps, "arm": arm, "reward": 0.1}
                columns |= {"seconds": steps / 1e3, "algorithm": b"local_sgd:period=2"}  # type: ignore[dict-item]
                posterior = (0.1 * arm, 0.2), (0.01, 0.02)
                append(file, [Decided(columns, ("2", "16"), *posterior)])
    return path


def section(folder: Path, **more: Any) -> Section:
    paths = []
    for seed in (0, 1):
        fixed = {2: 0.8, 16: 0.6, 64: 0.9}  # 64 is not among the arms
        for period, metric in fixed.items():
            name = folder / f"{period}-{seed}.h5"
            paths.append(run(name, period, metric, seed, **more, sample_us=31.25 * (period + 1)))
        paths.append(run(folder / f"c-{seed}.h5", 8, 0.75, seed, "thompson", **more))
    (one,) = sections([load(path) for path in paths])
    return one


def test_sentences_say_the_choices_and_the_gain_against_fixed_arms(tmp_path: Path) -> None:
    one = section(tmp_path)
    assert [x.text for x in sentences(one)] == [
        "local_sgd + thompson took 75 % of the steps at period=16 and 25 % at period=2 (2 seeds)",
        "local_sgd + thompson: accuracy 0.750 [0.750, 0.750], 0.0500 below the best of 2 fixed "
        "arms, period=2 (0.800 [0.800, 0.800]) in hindsight, and 0.150 above the worst one, "
        "period=16 (0.600 [0.600, 0.600])",
    ]
    (choices, *others) = figures(one)
    assert list(choices.charts) == ["decisions-steps", "decisions-seconds"]
    assert [name for x in others for name in x.charts] == ["posterior", "regret"]


def test_with_a_target_times_are_compared(tmp_path: Path) -> None:
    text = sentences(section(tmp_path, params={"target": 0.5}, target=0.5))[1].text
    assert "time to the target 0.0400 s [0.0400, 0.0400], 0.333 times that of the best" in text


def test_the_regret_is_the_delay_at_the_same_metric(tmp_path: Path) -> None:
    (case,) = cases(section(tmp_path))
    assert case.ranked() == ["period=2", "period=16"]
    times, lost = regret(case.runs[0], case.fixed["period=2"][0])
    assert times.tolist() == pytest.approx([0, 0.01, 0.02, 0.03, 0.04])
    # Each metric is that of the fixed arm's next evaluation, 30 ms apart.
    assert lost.tolist() == pytest.approx([0, -0.02, -0.04, -0.06, -0.08])


def test_without_fixed_runs_the_sentence_says_so(tmp_path: Path) -> None:
    (alone,) = sections([load(run(tmp_path / "a.h5", 8, 0.7, 0, "thompson"))])
    assert sentences(alone)[1].text.endswith("is here to compare it with")
    assert [name for x in figures(alone) for name in x.charts] == [
        "decisions-steps",
        "decisions-seconds",
        "posterior",
    ]
