"""Rounds of gossip: error curves, conservation, contraction factors, and placement on ranks."""

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.exchange.mpi import MPIExchange
from algorithms.topologies.mixing import default_topologies
from bench.consensus.gossip import Gossip, Limits, Start, draw_start, measure
from bench.results.convergence import exact_after, squared_ratios, tail_factor
from bench.results.rounds import COUNTS, Case
from tests.helpers import everywhere, on

D, SEED = 3, 4
TOPOLOGIES = default_topologies()
RANDOM = ("random_pair", "epidemic")
ROW_BYTES = 8 * (D + 1)
PATIENT = Limits(tolerance=1e-10, rounds=10_000, seconds=1000)
"""Limits with a time that even a slow machine does not reach."""


def start_of(comm: MPI.Intracomm, total: int) -> Start:
    bounds = [r * total // comm.size for r in (comm.rank, comm.rank + 1)]
    return draw_start(SEED, total, range(*bounds), D)


def gossip(comm: MPI.Intracomm, name: str, total: int, limits: Limits = PATIENT) -> Case:
    return measure(comm, TOPOLOGIES[name], start_of(comm, total), limits, total=total, seed=SEED)


@pytest.fixture
def few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw few rounds of random topologies instead of enough for their mean square."""
    monkeypatch.setattr("bench.consensus.gossip.LEAST_RATIOS", 30)
    monkeypatch.setattr("bench.consensus.gossip.RATE_ERROR", 10)


@pytest.mark.mpi
@pytest.mark.usefixtures("few_draws")
@on(3)
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_curves_do_not_depend_on_placement(comm: MPI.Intracomm, name: str) -> None:
    few = Limits(tolerance=1e-10, rounds=12, seconds=1000)
    for total in (5, 8):
        parallel, alone = gossip(comm, name, total, few), gossip(MPI.COMM_SELF, name, total, few)
        everywhere(comm, np.array_equal(parallel.error, alone.error), parallel.error, alone.error)
        pairs = zip(parallel.redraws, alone.redraws, strict=True)
        everywhere(comm, all(np.array_equal(local, serial) for local, serial in pairs))
        everywhere(comm, (len(parallel.redraws) > 0) == (name in RANDOM))


@pytest.mark.usefixtures("few_draws")
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_curves_equal_those_of_the_mixing_matrices(name: str) -> None:
    """Compare with the serial twin, all workers in one matrix.

    Redraws continue its rounds, and their errors are weighted: w_i (z_i - mean).
    """
    total, few = 6, Limits(tolerance=1e-10, rounds=8, seconds=1000)
    case, topology = gossip(MPI.COMM_SELF, name, total, few), TOPOLOGIES[name]
    exchange = MPIExchange(MPI.COMM_SELF, total, seed=SEED)
    rows = start_of(MPI.COMM_SELF, total).rows
    k, spread = 0, np.linalg.norm(rows - rows.mean(0))
    for curve in [case.error, *case.redraws[:3]]:
        weighted = curve is not case.error
        x, w, errors = rows.copy(), np.ones((total, 1)), [1.0]
        for _ in curve:
            P = exchange.links(topology, k).mixing_matrix()
            x, w, k = P @ x, P @ w, k + 1
            apart = (x / w - rows.mean(0)) * (w if weighted else 1)
            errors.append(float(np.linalg.norm(apart) / spread))
        np.testing.assert_allclose(curve, errors[1:], rtol=1e-6, atol=1e-14)
    exchange.close()


@pytest.mark.mpi
@pytest.mark.usefixtures("few_draws")
@on(1, 3)
@pytest.mark.parametrize("name", TOPOLOGIES)
def test_bytes_and_messages_follow_the_links(comm: MPI.Intracomm, name: str) -> None:
    """Each link is a message with one worker a rank, and a copy on one rank."""
    few = Limits(tolerance=1e-10, rounds=3, seconds=1000)
    total = max(2, comm.size)
    case = gossip(comm, name, total, few)
    duration, sent, copied, messages = case.counts
    assert len(COUNTS) == 4
    exchange = MPIExchange(comm, total, seed=SEED)
    links = [len(exchange.links(TOPOLOGIES[name], k).source) for k in range(len(case.error))]
    exchange.close()
    if comm.rank == 0:
        moved = copied if comm.size == 1 else sent
        assert moved.sum(1).tolist() == [ROW_BYTES * x for x in links]
        assert messages.sum(1).tolist() == ([0] * len(links) if comm.size == 1 else links)
        assert duration.shape == (len(links), comm.size)
    everywhere(comm, (duration > 0).all())


@pytest.mark.parametrize("name", ["ring", "star", "exponential", "epidemic"])
def test_gossip_conserves_the_mean(name: str) -> None:
    total = 7
    exchange = MPIExchange(MPI.COMM_SELF, total, dtype="float64", seed=SEED)
    first = start_of(MPI.COMM_SELF, total)
    np.testing.assert_allclose(first.rows.mean(0), first.mean, atol=1e-15)
    gossip = Gossip(MPI.COMM_SELF, exchange, TOPOLOGIES[name], first)
    for _ in range(30):
        gossip.step()
    x, w = gossip._workers.x, gossip._state.w
    assert np.abs((x * w).sum(0) - total * first.mean).max() < 1e-13
    assert abs(w.sum() - total) < 1e-13
    if name in ("star", "epidemic"):
        assert np.ptp(w) > 0.5, "the weights of an irregular graph must change"
    exchange.close()


@pytest.mark.parametrize("name", ["exponential", "bipartite"])
def test_agreement_is_exact_after_log2_rounds(name: str) -> None:
    for total in (4, 8, 16):
        case = gossip(MPI.COMM_SELF, name, total)
        assert exact_after(case.error) == len(case.error) == total.bit_length() - 1
        assert tail_factor(case.error, case.period) == case.theory_factor == 0


FITTED = {"ring": 7, "torus": 12, "static_exponential": 12, "star": 6, "exponential": 6}
FITTED |= {"hypercube": 6, "binary_tree": 6, "bipartite": 6, "erdos_renyi": 12}


@pytest.mark.parametrize(("name", "total"), FITTED.items())
def test_contraction_is_within_a_percent_of_theory(name: str, total: int) -> None:
    case = gossip(MPI.COMM_SELF, name, total)
    measured = tail_factor(case.error, case.period)
    assert np.log(measured) == pytest.approx(np.log(case.theory_factor), rel=0.01)
    assert case.reached


@pytest.mark.parametrize("name", RANDOM)
def test_random_rounds_contract_within_5_percent_of_theory(name: str) -> None:
    case = gossip(MPI.COMM_SELF, name, 36)
    measured = squared_ratios([case.error, *case.redraws]).factor()
    assert np.log(measured) == pytest.approx(np.log(case.theory_factor), rel=0.05)


@pytest.mark.mpi
@on(3)
def test_the_time_limit_ends_a_topology_on_all_ranks_together(comm: MPI.Intracomm) -> None:
    case = gossip(comm, "ring", 64, Limits(tolerance=1e-10, rounds=10**9, seconds=0.05))
    everywhere(comm, not case.reached)
    everywhere(comm, len(case.error) == comm.bcast(len(case.error)))
    pairs = gossip(comm, "random_pair", 8, Limits(tolerance=1e-10, rounds=10**9, seconds=0.0))
    everywhere(comm, len(pairs.error) == 1 and not pairs.redraws, "at least one round")
