"""Compressors and CHOCO-SGD: contraction, message sizes, conservation and refusals."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mpi4py import MPI

from algorithms.choco_sgd import ChocoSGD
from algorithms.compressors import COMPRESSORS
from algorithms.compressors.identity import Identity
from algorithms.compressors.protocol import Compressor
from algorithms.compressors.qsgd import QSGD
from algorithms.compressors.random_k import RandomK
from algorithms.compressors.sign import Sign
from algorithms.compressors.top_k import TopK
from algorithms.d_psgd import DPSGD
from algorithms.exchange.mpi import MPIExchange
from algorithms.topologies.complete import Complete
from algorithms.topologies.exponential import Exponential
from algorithms.topologies.hypercube import Hypercube
from algorithms.topologies.random_pair import RandomPair
from algorithms.topologies.ring import Ring
from algorithms.topologies.star import Star
from tests.algorithms.twin import STEPS
from tests.helpers import Array, StillWorkers, Training, everywhere

DEFAULTS: dict[str, Compressor] = {name: cls() for name, cls in COMPRESSORS.items()}
VARIANTS: dict[str, Compressor] = DEFAULTS | {
    "top_k, few": TopK(ratio=0.01),
    "random_k, few": RandomK(ratio=0.02),
    "qsgd, 4 bits": QSGD(levels=7),
    "qsgd, 2 bits": QSGD(levels=1),
}
ROWS = st.sampled_from(["float32", "float64"]).flatmap(
    lambda dtype: arrays(
        dtype,
        st.integers(1, 40),
        elements=st.floats(-1e4, 1e4, width=32).map(lambda x: x if abs(x) > 1e-4 else 0.0),
    )
)


def tau(s: int, d: int) -> float:
    return float(1 + min(d / s**2, d**0.5 / s))


def draw(*key: int) -> np.random.Generator:
    return np.random.default_rng(key)


def round_trip(compressor: Compressor, row: Array, *key: int) -> Array:
    """Return a row after compression into an unaligned message and decompression."""
    packed = np.full(1 + compressor.size(len(row), row.dtype), 7, np.uint8)[1:]
    before, out = row.copy(), np.full_like(row, 5)
    compressor.pack(row, packed, partial(draw, *key))
    compressor.unpack(packed, out, partial(draw, *key))
    np.testing.assert_array_equal(row, before)
    return out


@settings(deadline=None, max_examples=75)
@given(ROWS, st.sampled_from([0.03, 0.3, 1.0]), st.sampled_from([1, 3, 4, 127]))
def test_compressors_are_contractions(x: Array, ratio: float, s: int) -> None:
    """The squared error equals its formula, or respects its bound, for any row."""
    d, squares = len(x), float(np.square(x, dtype=float).sum())
    k = max(1, round(ratio * d))

    def squared_error(compressor: Compressor) -> float:
        return float(np.square(round_trip(compressor, x, 1) - x, dtype=float).sum())

    slack = 1e-5 * squares  # float32
    assert squared_error(Identity()) == 0
    signs = squares - np.abs(x, dtype=float).sum() ** 2 / d
    assert squared_error(Sign()) == pytest.approx(signs, abs=slack)
    dropped = np.square(np.sort(np.abs(x.astype(float)))[: d - k]).sum()
    assert squared_error(TopK(ratio=ratio)) == pytest.approx(dropped, abs=slack)
    assert dropped <= (1 - k / d) * squares + slack
    sparse = round_trip(RandomK(ratio=ratio), x, 1)
    assert (sparse == x).sum() >= k
    assert ((sparse == x) | (sparse == 0)).all()
    assert np.count_nonzero(sparse) <= k
    coarse = round_trip(QSGD(levels=s), x, 1) * tau(s, d)
    assert (np.abs(coarse - x) <= (1 + 1e-5) * squares**0.5 / s).all()


def test_random_compressors_contract_in_expectation() -> None:
    """QSGD divided by delta is unbiased as well."""
    x, times = np.random.default_rng(0).standard_normal(60), 1000
    squares = float(x @ x)
    quality: list[tuple[Compressor, float]] = [(RandomK(), 0.1), (RandomK(ratio=0.5), 0.5)]
    quality += [(QSGD(levels=s), 1 / tau(s, 60)) for s in (1, 3, 127)]
    for compressor, delta in quality:
        drawn = np.array([round_trip(compressor, x, 2, k) for k in range(times)])
        losses = np.square(drawn - x).sum(1) / squares
        error = 4 * losses.std() / times**0.5  # four standard errors
        assert losses.mean() <= 1 - delta + error
        if isinstance(compressor, RandomK):
            assert losses.mean() >= 1 - delta - error
        else:
            off = np.abs(drawn.mean(0) / delta - x) * times**0.5
            assert (off < 4.5 * drawn.std(0) / delta + 1e-9).all()


def test_random_draws_depend_on_the_whole_key() -> None:
    x = np.random.default_rng(0).standard_normal(200)
    for compressor in (RandomK(), QSGD(levels=3)):
        np.testing.assert_array_equal(
            round_trip(compressor, x, 3, 8, 1, 5), round_trip(compressor, x, 3, 8, 1, 5)
        )
        for key in ((3, 8, 1, 6), (3, 8, 2, 5), (4, 8, 1, 5)):
            assert (round_trip(compressor, x, *key) != round_trip(compressor, x, 3, 8, 1, 5)).any()


def test_compressors_propagate_nan_and_preserve_zero() -> None:
    for dtype in ("float32", "float64"):
        for compressor in VARIANTS.values():
            assert (round_trip(compressor, np.zeros(9, dtype), 1) == 0).all()
            for bad in (np.nan, np.inf, -np.inf):
                x = np.ones(9, dtype)
                x[4] = bad
                with np.errstate(invalid="ignore"):
                    out = round_trip(compressor, x, 1)
                assert not np.isfinite(out[4]) or (isinstance(compressor, RandomK) and out[4] == 0)
                assert np.isnan(out).all() or not isinstance(compressor, QSGD)
    np.testing.assert_array_equal(
        round_trip(Sign(), np.array([-0.0, 0.0, -2.0])), [2 / 3, 2 / 3, -2 / 3]
    )


SIZES: dict[str, tuple[Compressor, list[int]]] = {
    "identity": (Identity(), [4, 28, 32, 36, 400]),
    "sign": (Sign(), [5, 5, 5, 6, 17]),
    "top_k": (TopK(ratio=0.1), [8, 8, 8, 8, 80]),
    "random_k": (RandomK(ratio=0.3), [4, 8, 8, 12, 120]),
    "qsgd": (QSGD(), [12, 12, 12, 20, 108]),
    "qsgd, 2 bits": (QSGD(levels=1), [6, 6, 6, 8, 30]),
    "qsgd, 4 bits": (QSGD(levels=7), [8, 8, 8, 12, 56]),
    "qsgd, 5 bits": (QSGD(levels=8), [9, 9, 9, 14, 69]),
}
"""Bytes of rows of 1, 7, 8, 9 and 100 float32."""


@pytest.mark.parametrize("case", SIZES)
def test_message_sizes(case: str) -> None:
    compressor, sizes = SIZES[case]
    wide = {"identity": lambda n: 2 * n, "random_k": lambda n: 2 * n, "top_k": lambda n: n * 3 // 2}
    for d, size in zip((1, 7, 8, 9, 100), sizes, strict=True):
        assert compressor.size(d, np.dtype(np.float32)) == size
        double = wide.get(case, lambda n: n + 4)(size)
        assert compressor.size(d, np.dtype(np.float64)) == double


@pytest.mark.mpi
@pytest.mark.parametrize("name", DEFAULTS)
def test_the_meter_counts_compressed_bytes(comm: MPI.Intracomm, name: str) -> None:
    d, compressor = 100, DEFAULTS[name]
    size = compressor.size(d, np.dtype(np.float32))
    for total in (comm.size, 7):
        exchange = MPIExchange(comm, total)
        workers = StillWorkers(exchange, np.random.default_rng(0).standard_normal((total, d)))
        algorithm = ChocoSGD(compressor=compressor)
        state = algorithm.init(exchange, workers)
        rank = np.repeat(np.arange(comm.size), np.diff(exchange.placement.bounds))
        links = exchange.links(Ring(), 0)
        crossing = {(s, rank[t]) for s, t in zip(links.source, links.target, strict=True)}
        outgoing = sum(rank[s] == comm.rank != t for s, t in crossing)
        inside = sum((rank[links.source] == comm.rank) & (rank[links.target] == comm.rank))
        for _ in range(3):
            algorithm.step(exchange, workers, state)
        meter = exchange.meter
        everywhere(comm, meter.bytes_sent == 3 * size * outgoing, total, meter.bytes_sent)
        everywhere(comm, meter.bytes_copied == 3 * size * inside, total, meter.bytes_copied)
        exchange.close()


def consensus(algorithm: ChocoSGD, total: int, rounds: int, d: int = 150) -> list[float]:
    """Return the relative consensus distance after each round of gossip without gradients."""
    exchange = MPIExchange(MPI.COMM_SELF, total, dtype="float64", seed=3)
    rows = np.random.default_rng(total).standard_normal((total, d))
    workers = StillWorkers(exchange, rows)
    x, distances, size = workers.x, list[float](), 1.0
    state = algorithm.init(exchange, workers)
    for _ in range(rounds):
        algorithm.step(exchange, workers, state)
        size = max(size, np.abs(x).max())
        distances.append(float(np.linalg.norm(x - x.mean(0)) / np.linalg.norm(rows - rows.mean(0))))
    rounding = 8 * np.finfo(float).eps * rounds * size
    np.testing.assert_allclose(x.mean(0), rows.mean(0), rtol=0, atol=rounding)
    return distances


@pytest.mark.parametrize("name", VARIANTS)
def test_choco_keeps_the_mean_and_converges_with_its_default_gamma(name: str) -> None:
    for topology, total in ((Ring(), 5), (Star(), 8), (Hypercube(), 8), (Complete(), 5)):
        algorithm = ChocoSGD(topology=topology, compressor=VARIANTS[name])
        distances = consensus(algorithm, total, 120)
        late = min(0.95, max(0.95 * distances[9], 1e-12))
        assert distances[-1] < late, (topology, total)


def test_choco_diverges_if_gamma_is_too_large() -> None:
    for compressor in (RandomK(), TopK(ratio=0.02), QSGD(levels=1)):
        assert consensus(ChocoSGD(compressor=compressor, gamma=0.5), 8, 240)[-1] > 2


def test_default_gammas_are_half_of_delta() -> None:
    """A larger gamma diverges only if P has eigenvalues near -1, too rare to test by a run."""
    for compressor in (TopK(ratio=0.2), RandomK(ratio=0.2)):
        assert compressor.gamma(100) == pytest.approx(0.1)
    assert QSGD(levels=5).gamma(100) == pytest.approx(1 / 6)  # tau = 1 + 10 / 5
    assert QSGD(levels=100).gamma(100) == pytest.approx(0.5 / 1.01)
    assert (Sign().gamma(100), Identity().gamma(100)) == (0.5, 1.0)


def test_random_k_contracts_at_the_rate_of_its_second_moments() -> None:
    """The moments are E[x^2], E[x h] and E[h^2]; without Q, P would average in one round."""
    delta = 0.25
    for gamma in (delta / 2, delta):
        drawn = np.array([[(1 - gamma) ** 2, 0, 0], [1 - gamma, 0, 0], [1, 0, 0]])
        not_drawn = np.array([[1, -2 * gamma, gamma**2], [0, 1, -gamma], [0, 0, 1]])
        moments, expected = np.array([1.0, 0, 0]), []
        for _ in range(15):
            moments = (delta * drawn + (1 - delta) * not_drawn) @ moments
            expected.append(moments[0] ** 0.5)
        algorithm = ChocoSGD(topology=Complete(), compressor=RandomK(ratio=delta), gamma=gamma)
        distances = consensus(algorithm, 20, 15, d=750)
        np.testing.assert_allclose(distances, expected, rtol=0.1)  # 15,000 draws a round; 1 / W


def test_choco_without_compression_is_d_psgd() -> None:
    for total in (5, 12):
        choco = ChocoSGD(compressor=Identity())
        algorithm = DPSGD(mixing="metropolis", order="adapt_first")
        np.testing.assert_allclose(
            Training(MPI.COMM_SELF, total).run(choco, STEPS),
            Training(MPI.COMM_SELF, total).run(algorithm, STEPS),
            rtol=0,
            atol=1e-12,
        )


def test_divergence_of_a_worker_spreads_to_its_neighbours() -> None:
    for compressor in DEFAULTS.values():
        exchange = MPIExchange(MPI.COMM_SELF, 5)
        workers = StillWorkers(exchange, np.ones((5, 20)))
        algorithm = ChocoSGD(compressor=compressor)
        state = algorithm.init(exchange, workers)
        workers.x[2, 3] = np.nan
        with np.errstate(invalid="ignore"):
            for _ in range(60):  # random_k draws the entry eventually
                algorithm.step(exchange, workers, state)
        assert np.isnan(workers.x).any(axis=1).all()


def test_invalid_options_are_refused() -> None:
    for gamma in (0.0, 1.1, -1.0, float("nan")):
        with pytest.raises(ValueError, match=r"gamma must be in \(0, 1\], got .*: omit it"):
            ChocoSGD(gamma=gamma)
    with pytest.raises(ValueError, match="take a static topology"):
        ChocoSGD(topology=RandomPair()).check(6)
    with pytest.raises(ValueError, match="exponential changes its links every round"):
        ChocoSGD(topology=Exponential(), mixing="uniform").check(6)
    with pytest.raises(ValueError, match="star with mixing uniform at 5 workers is not symmetric"):
        ChocoSGD(topology=Star(), mixing="uniform").check(5)
    for ratio in (0.0, 1.5, float("nan")):
        for cls in (TopK, RandomK):
            with pytest.raises(ValueError, match=r"ratio must be in \(0, 1\], got"):
                cls(ratio=ratio)
    for levels in (0, 128):
        with pytest.raises(ValueError, match=r"levels must be in \[1, 127\], got"):
            QSGD(levels=levels)
