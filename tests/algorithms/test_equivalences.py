"""Each algorithm against its serial twin, and against each other where they must agree."""

from collections.abc import Callable

import numpy as np
import pytest
from mpi4py import MPI
from numpy.typing import NDArray

from algorithms import ALGORITHMS
from algorithms.allreduce_sgd import AllReduceSGD
from algorithms.collectives import ALLREDUCES
from algorithms.d_psgd import DPSGD
from algorithms.elastic_averaging import ElasticAveraging
from algorithms.exchange import MPIExchange
from algorithms.local_sgd import LocalSGD
from algorithms.post_local_sgd import PostLocalSGD
from algorithms.protocol import Algorithm
from algorithms.push_sum import PushSum
from algorithms.slowmo import SlowMo
from algorithms.topology import TOPOLOGIES
from bench.runtime.batches import Batches
from bench.runtime.optimizers import SGD
from tests.helpers import Array, Training, all_rows, everywhere, sha

pytestmark = pytest.mark.mpi

STEPS = 25
BALANCED = [name for name in TOPOLOGIES if name != "star"]
VARIANTS: dict[str, Algorithm] = {
    "allreduce_sgd": AllReduceSGD(),
    "local_sgd": LocalSGD(period=3),
    "local_sgd, never": LocalSGD(period=0),
    "post_local_sgd": PostLocalSGD(switch=6, period=4),
    "slowmo": SlowMo(period=3, momentum=0.4, rate=0.7),
    "elastic_averaging": ElasticAveraging(),
    "elastic_averaging, seldom": ElasticAveraging(period=4, alpha=0.1),
    "push_sum by samples": PushSum(topology="star", weights="samples"),
    **{f"push_sum on {name}": PushSum(topology=name) for name in TOPOLOGIES},
    **{f"d_psgd on {name}": DPSGD(topology=name) for name in BALANCED},
    "d_psgd, adapt first": DPSGD(topology="torus", order="adapt_first"),
}


class Twin:
    """All workers in one float64 matrix; the exchange is a matrix product or a mean."""

    def __init__(self, total: int, optimizer: SGD) -> None:
        made = Training(MPI.COMM_SELF, total)
        self.exchange: MPIExchange = made.exchange
        self.problem, self.sizes = made.problem, made.workers.samples.astype(float)
        self.optimizer = optimizer
        self.batches = Batches(made.shards, range(total), 4, seed=3)
        self.x = np.tile(made.problem.initial(3), (total, 1))
        self.v = np.zeros_like(self.x)

    def gradient(self, x: Array) -> Array:
        chosen = self.batches.next()
        h, b = self.problem.h[chosen][:, :, None], self.problem.b[chosen]
        mean: Array = (h * (x[:, None] - b)).mean(1)
        return mean

    def direction(self, g: Array) -> Array:
        self.v = self.optimizer.momentum * self.v + g
        return self.optimizer.lr * self.v


def allreduce_sgd(twin: Twin, algorithm: AllReduceSGD) -> None:
    for _ in range(STEPS):
        twin.x = twin.x - twin.direction(np.ones((len(twin.x), 1)) * twin.gradient(twin.x).mean(0))


def local_sgd(twin: Twin, algorithm: LocalSGD) -> None:
    for k in range(1, STEPS + 1):
        twin.x = twin.x - twin.direction(twin.gradient(twin.x))
        if algorithm.period and k % algorithm.period == 0:
            twin.x = np.ones((len(twin.x), 1)) * twin.x.mean(0)


def elastic_averaging(twin: Twin, algorithm: ElasticAveraging) -> None:
    W = len(twin.x)
    alpha = 0.9 / W if algorithm.alpha is None else algorithm.alpha
    centre = twin.x[0].copy()
    for k in range(1, STEPS + 1):
        x, step = twin.x, twin.direction(twin.gradient(twin.x))
        pulled = alpha if k % algorithm.period == 0 else 0
        twin.x = x - step - pulled * (x - centre)
        centre = (1 - W * pulled) * centre + W * pulled * x.mean(0)


def push_sum(twin: Twin, algorithm: PushSum) -> None:
    W = len(twin.x)
    w = np.ones((W, 1))
    if algorithm.weights == "samples":
        w = twin.sizes[:, None] / twin.sizes.mean()
    numerator = twin.x * w
    for k in range(STEPS):
        numerator = numerator - twin.direction(twin.gradient(numerator / w))
        P = twin.exchange.links(TOPOLOGIES[algorithm.topology](), k).mixing_matrix()
        numerator, w = P @ numerator, P @ w
    twin.x = numerator / w


def d_psgd(twin: Twin, algorithm: DPSGD) -> None:
    for k in range(STEPS):
        P = twin.exchange.links(TOPOLOGIES[algorithm.topology](), k).mixing_matrix()
        step = twin.direction(twin.gradient(twin.x))
        twin.x = P @ (twin.x - step) if algorithm.order == "adapt_first" else P @ twin.x - step


def post_local_sgd(twin: Twin, algorithm: PostLocalSGD) -> None:
    averaged = {*range(1, algorithm.switch + 1)}
    averaged |= {*range(algorithm.switch, STEPS + 1, algorithm.period)}
    for k in range(1, STEPS + 1):
        twin.x = twin.x - twin.direction(twin.gradient(twin.x))
        if k in averaged:
            twin.x = np.ones((len(twin.x), 1)) * twin.x.mean(0)


def slowmo(twin: Twin, algorithm: SlowMo) -> None:
    start, u = twin.x[0].copy(), 0.0 * twin.x[0]
    for k in range(1, STEPS + 1):
        twin.x = twin.x - twin.direction(twin.gradient(twin.x))
        if k % algorithm.period == 0:
            u = algorithm.momentum * u + (start - twin.x.mean(0))
            start = start - algorithm.rate * u
            twin.x = np.ones((len(twin.x), 1)) * start


TWINS: dict[type, Callable[..., None]] = {
    AllReduceSGD: allreduce_sgd,
    LocalSGD: local_sgd,
    ElasticAveraging: elastic_averaging,
    PushSum: push_sum,
    DPSGD: d_psgd,
    PostLocalSGD: post_local_sgd,
    SlowMo: slowmo,
}


def test_every_registered_algorithm_has_a_twin() -> None:
    assert set(ALGORITHMS.values()) == set(TWINS) == {type(v) for v in VARIANTS.values()}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("total", [4, 5, 7, 12])
def test_equals_its_serial_twin(comm: MPI.Intracomm, variant: str, total: int) -> None:
    optimizer = SGD(lr=0.2, momentum=0.5)
    algorithm = VARIANTS[variant]
    twin = Twin(total, optimizer)
    TWINS[type(algorithm)](twin, algorithm)
    made = Training(comm, total, optimizer=optimizer)
    x = made.run(algorithm, STEPS)
    mine = twin.x[made.workers.ids]
    everywhere(comm, np.allclose(x, mine, rtol=0, atol=1e-12), np.abs(x - mine).max())


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("total", [4, 7, 12])
def test_parameters_do_not_depend_on_where_workers_live(
    comm: MPI.Intracomm, variant: str, total: int
) -> None:
    alone = Training(MPI.COMM_SELF, total, dtype="float32").run(VARIANTS[variant], STEPS)
    spread = Training(comm, total, dtype="float32").run(VARIANTS[variant], STEPS)
    everywhere(comm, sha(all_rows(comm, spread)) == sha(alone))


@pytest.mark.parametrize("allreduce", ALLREDUCES)
def test_every_allreduce_trains_alike(comm: MPI.Intracomm, allreduce: str) -> None:
    for name in ("allreduce_sgd", "elastic_averaging"):
        for total in (4, 6):
            chosen = Training(comm, total, allreduce=allreduce).run(VARIANTS[name], STEPS)
            reference = Training(comm, total).run(VARIANTS[name], STEPS)
            everywhere(comm, np.allclose(chosen, reference, rtol=0, atol=1e-12))


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
def test_local_sgd_averaging_every_step_is_allreduce_sgd(
    comm: MPI.Intracomm, momentum: float, nesterov: bool
) -> None:
    optimizer = SGD(lr=0.2, momentum=momentum, nesterov=nesterov and momentum > 0)
    local = Training(comm, 6, optimizer=optimizer).run(LocalSGD(period=1), STEPS)
    mean = Training(comm, 6, optimizer=optimizer).run(AllReduceSGD(), STEPS)
    everywhere(comm, np.allclose(local, mean, rtol=0, atol=1e-12))


def test_elastic_rate_zero_and_period_zero_are_independent_runs(comm: MPI.Intracomm) -> None:
    elastic = Training(comm, 6).run(ElasticAveraging(alpha=0.0), STEPS)
    local = Training(comm, 6).run(LocalSGD(period=0), STEPS)
    everywhere(comm, np.array_equal(elastic, local))


@pytest.mark.parametrize("topology", BALANCED)
@pytest.mark.parametrize("total", [4, 7])
def test_push_sum_on_a_doubly_stochastic_graph_is_d_psgd(
    comm: MPI.Intracomm, topology: str, total: int
) -> None:
    pushed = Training(comm, total).run(PushSum(topology=topology), STEPS)
    mixed = Training(comm, total).run(DPSGD(topology=topology, order="adapt_first"), STEPS)
    everywhere(comm, np.allclose(pushed, mixed, rtol=0, atol=1e-13), np.abs(pushed - mixed).max())


def test_d_psgd_refuses_a_graph_that_moves_the_mean() -> None:
    with pytest.raises(ValueError, match="star is not doubly stochastic at 5 workers"):
        DPSGD(topology="star").check(5)
    DPSGD(topology="star").check(2)  # two workers are a pair
    for name in BALANCED:
        for total in (1, 2, 3, 7, 12, 64):
            DPSGD(topology=name).check(total)


def test_slowmo_without_momentum_is_local_sgd(comm: MPI.Intracomm) -> None:
    slow = Training(comm, 6).run(SlowMo(period=4, momentum=0, rate=1), STEPS)
    local = Training(comm, 6).run(LocalSGD(period=4), STEPS)
    everywhere(comm, np.allclose(slow, local, rtol=0, atol=1e-13))


def test_post_local_sgd_is_its_two_phases(comm: MPI.Intracomm) -> None:
    local = Training(comm, 6).run(LocalSGD(period=4), STEPS)
    always_local = Training(comm, 6).run(PostLocalSGD(switch=0, period=4), STEPS)
    everywhere(comm, np.array_equal(always_local, local))
    mean = Training(comm, 6).run(AllReduceSGD(), STEPS)
    never_local = Training(comm, 6).run(PostLocalSGD(switch=STEPS), STEPS)
    everywhere(comm, np.allclose(never_local, mean, rtol=0, atol=1e-12))


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_worker_is_plain_sgd(variant: str) -> None:
    algorithm = VARIANTS[variant]
    expected = Training(MPI.COMM_SELF, 1).run(LocalSGD(period=0), STEPS)
    x = Training(MPI.COMM_SELF, 1).run(algorithm, STEPS)
    if isinstance(algorithm, ElasticAveraging | SlowMo):  # one worker still has its centre, or u
        assert np.abs(x - expected).max() > 1e-6
    else:
        np.testing.assert_allclose(x, expected, rtol=0, atol=1e-15)


def test_four_workers_of_batch_16_follow_one_of_batch_64(comm: MPI.Intracomm) -> None:
    rng = np.random.default_rng(0)
    four: NDArray[np.int64] = rng.integers(0, 240, (STEPS, 4, 16))
    one = four.reshape(STEPS, 1, 64)
    large = Training(MPI.COMM_SELF, 1, indices=one).run(AllReduceSGD(), STEPS)
    small = Training(comm, 4, indices=four).run(AllReduceSGD(), STEPS)
    everywhere(comm, np.allclose(small, large[0], rtol=0, atol=1e-13))


def test_push_sum_by_samples_equals_by_ones_on_equal_shards(comm: MPI.Intracomm) -> None:
    ones = Training(comm, 4).run(PushSum(weights="ones"), STEPS)
    samples = Training(comm, 4).run(PushSum(weights="samples"), STEPS)
    everywhere(comm, np.array_equal(ones, samples))
