"""Learning rate schedules: values, every optimizer, any placement, and refused combinations."""

import copy
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from mpi4py import MPI

from bench.common.spec import UserError, parse_spec
from bench.optimizers import OPTIMIZERS, SGD
from bench.optimizers.schedules import SCHEDULES, Cosine, Linear, Schedule, Step
from bench.results.claims import Claim
from bench.results.reader import read
from bench.runtime.checks import RefusedError
from bench.runtime.workers import TrainingWorkers
from bench.tasks.digits import Digits
from bench.train import train
from tests.bench.made_workers import experiment, make_workers

STEPS = 12
PROBLEM = Digits().load("float64")


def workers(ids: range, schedule: Schedule, optimizer: str = "sgd") -> TrainingWorkers:
    options = OPTIMIZERS[optimizer]()
    lr = options.lr  # type: ignore[attr-defined]
    return make_workers(
        PROBLEM, options, ids, "float64", rate=lambda step: lr * schedule.at(step, STEPS)
    )


def rates_of_torch(kind: type, **options: object) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = kind(optimizer, **options)
    rates = []
    for _ in range(STEPS):
        rates.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize(
    ("schedule", "kind", "options"),
    [
        (Cosine(), "CosineAnnealingLR", {"T_max": STEPS}),
        (Cosine(least=0.2), "CosineAnnealingLR", {"T_max": STEPS, "eta_min": 0.2}),
        (Step(every=5, factor=0.3), "StepLR", {"step_size": 5, "gamma": 0.3}),
        (
            Linear(least=0.1),
            "LinearLR",
            {"start_factor": 1.0, "end_factor": 0.1, "total_iters": STEPS},
        ),
    ],
)
def test_rates_are_those_of_torch(
    schedule: Schedule, kind: str, options: dict[str, object]
) -> None:
    expected = rates_of_torch(getattr(torch.optim.lr_scheduler, kind), **options)
    rates = [schedule.at(k, STEPS) for k in range(STEPS)]
    assert rates == pytest.approx(expected, rel=1e-12)  # float64, recursive in torch
    assert schedule.at(STEPS + 3, STEPS) == rates[-1]


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_warm_up_rises_linearly_to_the_rate_of_the_optimizer(name: str) -> None:
    schedule = parse_spec(f"{name}:warmup=4", SCHEDULES, "schedule")
    rates = [schedule.at(k, STEPS) for k in range(STEPS)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert all(0 < b <= a for a, b in pairwise(rates[3:]))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_takes_the_rate_of_the_step_also_after_a_resume(name: str) -> None:
    """The twin is told the rate of every step; it is halfway replaced by a copy of the first."""
    schedule = Cosine(warmup=3)
    one, twin = (workers(range(2), schedule, name) for _ in range(2))
    plain, x = OPTIMIZERS[name](), PROBLEM.initial(0)
    rows = np.stack([x, x])
    state = plain.init(rows, PROBLEM.layers)
    for k in range(STEPS):
        if k == 5:
            twin.x[:], twin.drawn = one.x, one.drawn
            twin.optimizer_state = copy.deepcopy(one.optimizer_state)
            one = twin
        one.gradient()
        rate = plain.lr * schedule.at(k, STEPS)  # type: ignore[attr-defined]
        replace(plain, lr=rate).update(rows, one.g.copy(), state)  # type: ignore[type-var]
        one.update()
        np.testing.assert_allclose(one.x, rows, rtol=1e-12, atol=1e-12)  # float64, 12 steps


def test_rates_do_not_depend_on_the_placement() -> None:
    schedule = Linear(warmup=2)
    together = workers(range(4), schedule)
    alone = [workers(range(i, i + 1), schedule) for i in range(4)]
    for _ in range(STEPS):
        for some in (together, *alone):
            some.gradient()
            some.update()
    np.testing.assert_allclose(together.x, np.concatenate([x.x for x in alone]), rtol=1e-12)


def test_a_schedule_is_recorded_and_changes_the_hash_only_where_it_is_given(tmp_path: Path) -> None:
    plain = experiment(steps=STEPS, eval_every=6, out=tmp_path, name="plain")
    scheduled = experiment(
        steps=STEPS, eval_every=6, out=tmp_path, name="given", schedule="cosine:warmup=5"
    )
    assert "schedule" not in plain.params
    assert scheduled.params["schedule"] == "cosine:warmup=5"
    assert scheduled.params["options"]["schedule"] == {"warmup": 5, "least": 0.0}
    assert scheduled.hash != plain.hash
    assert scheduled.rate(0) == pytest.approx(0.1 / 5)
    results: list[Claim] = []
    for case in (plain, scheduled):
        assert train(MPI.COMM_SELF, case, results, quiet=True) == 0
    runs = [read(tmp_path / f"{name}.h5") for name in ("plain", "given")]
    first, second = (run.attributes["parameters_sha256"] for run in runs)
    assert first != second


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "cosin"}, "unknown schedule 'cosin' .did you mean cosine.*cosine, linear"),
        ({"schedule": "cosine:warmup=-1"}, "warmup must be >= 0, got -1"),
        ({"schedule": "cosine:warmup=400"}, "below the number of steps, 400, got 400"),
        ({"schedule": "linear:least=1"}, r"least must be in \[0, 1\), got 1"),
        ({"schedule": "step:every=0"}, "every must be >= 1, got 0"),
        ({"schedule": "step:every=500"}, "every must be below the number of steps, 400, got 500"),
        ({"schedule": "step:factor=2"}, r"factor must be in \(0, 1\), got 2"),
        ({"schedule": "step:every=1,factor=0.5"}, "the rate becomes 0 after 400 steps"),
        (
            {"schedule": "cosine", "algorithm": "local_sgd", "controller": "qsr"},
            "no constant learning rate lr: .* without --schedule",
        ),
    ],
)
def test_wrong_schedules_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises((UserError, RefusedError), match=message):
        experiment(**options).check()


def test_an_optimizer_without_a_rate_is_refused() -> None:
    class Fixed(SGD):
        __dataclass_fields__ = {}  # noqa: RUF012

    case = replace(experiment(schedule="cosine"), optimizer=Fixed())
    with pytest.raises(UserError, match="has no option lr to schedule"):
        case.check()
