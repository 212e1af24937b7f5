"""Rows that travel as bfloat16: rounding beside torch, means, rounds, bytes and placement."""

from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from mpi4py import MPI

from algorithms import ALGORITHMS
from algorithms.collectives import ALLREDUCES
from algorithms.exchange.mpi import MPIExchange
from algorithms.topologies.ring import Ring
from algorithms.wire.bfloat16 import BLOCK, add, decoded, encode, error2, round_in_place
from algorithms.wire.carrier import Scheduled, divide_in_place
from bench.common.spec import UserError
from tests.algorithms.twin import STEPS
from tests.bench.made_workers import experiment
from tests.helpers import Training, all_rows, everywhere, on, sha

ROUNDED = ("allreduce_sgd", "lagged_allreduce_sgd", "elastic_tree", "d_psgd", "crowding")
"""Algorithms that take means, start them, take those of groups, mix and deliver."""
SPECIAL = [0, -0.0, 1, 1 + 2**-8, 1 + 3 * 2**-8, 2**-140, 3.4e38, np.inf, -np.inf, np.nan]
NAN = np.array([0x7FFFFFFF, 0xFF800001], np.uint32).view(np.float32)


def numbers(n: int, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    random = rng.standard_normal(n) * 10.0 ** rng.integers(-30, 30, n)
    return np.concatenate([SPECIAL, random]).astype(np.float32)


def encoded(x: Any) -> Any:
    out = np.empty(len(x), np.uint16)
    encode(x, out)
    return out


def by_torch(x: Any) -> Any:
    return torch.from_numpy(x).bfloat16()


def test_rounding_and_sums_are_those_of_torch() -> None:
    a, b = numbers(BLOCK + 5, 0), numbers(BLOCK + 5, 1)[::-1].copy()
    np.testing.assert_array_equal(decoded(encoded(a)), by_torch(a).float())
    total = encoded(a)
    add(total, encoded(b))
    np.testing.assert_array_equal(decoded(total), (by_torch(a) + by_torch(b)).float())
    divide_in_place(total, 3)
    expected = ((by_torch(a) + by_torch(b)) / 3).float()
    np.testing.assert_array_equal(decoded(total), expected)
    assert np.isnan(decoded(encoded(NAN))).all()


def test_the_error_is_relative() -> None:
    x = numbers(0)[2:6].reshape(2, 2)
    rounded = x.copy()
    round_in_place(rounded)
    error, size = error2(x)
    assert (error, size) == (((rounded - x) ** 2).sum(), (x.astype(np.float64) ** 2).sum())


def test_means_and_mixes_on_one_rank_round_rows_and_sums() -> None:
    rows = np.random.default_rng(0).standard_normal((4, 9)).astype(np.float32)
    low = by_torch(rows)
    exchange, plain = (MPIExchange(MPI.COMM_SELF, 4, encoded=x) for x in (True, False))
    mean = np.empty(9, np.float32)
    exchange.mean(rows, out=mean)
    np.testing.assert_array_equal(mean, (((low[0] + low[1]) + (low[2] + low[3])) / 4).float())
    pairs = rows.copy()
    exchange.mean(pairs, group=2)
    np.testing.assert_array_equal(pairs[2:], ((low[2:3] + low[3:]) / 2).float().expand(2, 9))
    links, out = exchange.links(Ring(), 0), np.empty_like(rows)
    exchange.pull(rows, links, out)
    rounded, expected = low.float().numpy(), np.empty_like(rows)
    plain.pull(rounded, links, expected)
    np.testing.assert_array_equal(out, expected)
    half, whole = np.empty_like(rows), np.empty_like(rows)
    before = exchange.meter.bytes_copied, plain.meter.bytes_copied
    exchange.mix(rows, exchange.mixing(Ring(), "uniform", 0), half)
    plain.mix(rounded, plain.mixing(Ring(), "uniform", 0), whole)
    own = exchange.mixing(Ring(), "uniform", 0).own[:, None].astype(np.float32)
    np.testing.assert_allclose(half, whole + own * (rows - rounded), rtol=1e-6, atol=1e-7)
    used = exchange.meter.bytes_copied - before[0], plain.meter.bytes_copied - before[1]
    assert 2 * used[0] == used[1] > 0
    exchange.close()
    plain.close()


@cache
def on_one_rank(name: str, total: int) -> str:
    return sha(run(MPI.COMM_SELF, name, total))


def run(comm: MPI.Intracomm, name: str, total: int) -> Any:
    return Training(comm, total, dtype="float32", encoded=True).run(ALGORITHMS[name](), STEPS)


@pytest.mark.mpi
@on(2, 3, 4)
@pytest.mark.parametrize("name", ROUNDED)
def test_parameters_do_not_depend_on_placement(comm: MPI.Intracomm, name: str) -> None:
    for total in (4, 7):
        rows = all_rows(comm, run(comm, name, total))
        everywhere(comm, sha(rows) == on_one_rank(name, total), total)


@pytest.mark.mpi
@on(2, 3)
def test_all_reduces_send_half_the_bytes(comm: MPI.Intracomm) -> None:
    for name in (x for x, cls in ALLREDUCES.items() if issubclass(cls, Scheduled)):
        used = []
        for encoding in (True, False):
            exchange = MPIExchange(comm, comm.size, allreduce=name, encoded=encoding)
            rows = exchange.rows(12)
            rows[:] = comm.rank + 1  # sums of small whole numbers are exact
            exchange.mean(rows)
            everywhere(comm, np.allclose(rows, (comm.size + 1) / 2, rtol=2**-8), name)
            used.append(exchange.meter.bytes_sent)
            exchange.close()
        everywhere(comm, 2 * used[0] == used[1], name, used)


def test_params_have_the_type_only_where_it_is_given() -> None:
    assert experiment(wire="bf16").params == {**experiment().params, "wire": "bf16"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wire": "fp8"}, "unknown wire 'fp8'"),
        ({"dtype": "float64"}, "--wire bf16 rounds float32, got --dtype float64"),
        ({"algorithm": "push_sum"}, "rows of push_sum are not rounded, since its weights must add"),
        ({"algorithm": "ad_psgd"}, "not rounded, since it works in memory that all ranks share"),
        ({"allreduce": "shared_memory"}, "does not send the messages .*; those that do are star"),
        ({"task": "digits:norm=batch,group=2"}, "would round the statistics that workers of"),
    ],
)
def test_rows_that_cannot_be_rounded_are_refused(options: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        experiment(**{"wire": "bf16", **options}).check()


def test_every_algorithm_says_whether_rows_may_be_rounded() -> None:
    exact = {name for name, x in ALGORITHMS.items() if x.needs.exact}
    assert exact == {
        *("push_sum", "overlap_push_sum", "robust_push_sum"),
        *("gradient_tracking", "relay_sgd", "choco_sgd"),
    }
