"""Accumulation of gradients: the gradient of one large batch, parts, records and refusals."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

from bench.common.spec import UserError
from bench.optimizers import SGD
from bench.results.reader import read
from bench.results.validation import flaws
from bench.tasks.digits import Digits
from bench.tasks.logistic import Logistic
from bench.train import train
from tests.bench.made_workers import experiment, make_workers


@pytest.mark.parametrize(("task", "count"), [(Logistic(), 3), (Digits(), 1)])
def test_gradients_add_up_to_that_of_one_batch(task: Any, count: int) -> None:
    """Batches have eight samples: four parts of two."""
    problem = task.load("float64")
    whole, added = (
        make_workers(problem, SGD(weight_decay=0.1), range(count), "float64", accumulate=n)
        for n in (1, 4)
    )
    for _ in range(2):
        losses = whole.gradient(), added.gradient()
        np.testing.assert_allclose(*losses, rtol=1e-12)  # float64, sums in another order
        np.testing.assert_allclose(added.g, whole.g, rtol=1e-9, atol=1e-13)
    spans: list[tuple[int, int, Any]] = []
    added.gradient(lambda lo, hi: spans.append((lo, hi, added.g[:, lo:hi].copy())))
    whole.gradient()
    assert [lo for lo, _, _ in spans] == [hi for _, hi, _ in spans[1:]] + [0]
    parts = np.concatenate([part for _, _, part in spans[::-1]], axis=1)
    np.testing.assert_allclose(parts, whole.g, rtol=1e-9, atol=1e-13)


def test_a_result_counts_the_samples_of_all_parts(tmp_path: Path) -> None:
    options = {"task": "quadratic", "epochs": 0.5, "eval_every": 5, "out": tmp_path, "name": "x"}
    case = experiment(batch=4, accumulate=3, **options)
    assert train(MPI.COMM_SELF, case, [], quiet=True) == 0
    run = read(case.path)
    assert (run.attributes["batch"], run.params["batch"], run.params["accumulate"]) == (12, 4, 3)
    assert list(flaws(case.path)) == []
    whole = experiment(batch=12, **options | {"name": "y"})
    assert train(MPI.COMM_SELF, whole, [], quiet=True) == 0
    other = read(whole.path)
    assert run.evals["samples"].tolist() == other.evals["samples"].tolist()
    np.testing.assert_allclose(run.evals["metric"], other.evals["metric"], rtol=1e-5)  # float32


def test_params_have_the_parts_only_if_there_are_several() -> None:
    assert "accumulate" not in experiment().params
    assert experiment(accumulate=4).params == {**experiment().params, "accumulate": 4}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"task": "digits:norm=batch"},
            "--accumulate 4: the batch norm of digits:norm=batch normalises each batch of 16",
        ),
        (
            {"task": "mlp", "pipeline": "gpipe:stages=1"},
            "--accumulate 4: a --pipeline adds up the gradients of its own micro-batches: give "
            "--batch 64",
        ),
    ],
)
def test_other_sums_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        experiment(accumulate=4, **options).check()
