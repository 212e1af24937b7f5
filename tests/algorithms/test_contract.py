"""Contract of every algorithm: serial twin, independence of placement, and one worker."""

from functools import cache
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
from mpi4py import MPI

from algorithms import ALGORITHMS, protocol
from algorithms.local_sgd import LocalSGD
from algorithms.protocol import Algorithm
from algorithms.topologies.ring import Ring
from bench.check.algorithm import conservation
from bench.check.findings import OK
from bench.optimizers import SGD
from tests.algorithms import (
    twins_averaging,
    twins_corrected,
    twins_gossip,
    twins_niching,
    twins_periodic,
    twins_species,
)
from tests.algorithms.twin import STEPS, Twin, Twins
from tests.helpers import Training, all_rows, everywhere, on, sha

FAMILIES = (
    twins_averaging,
    twins_gossip,
    twins_periodic,
    twins_corrected,
    twins_niching,
    twins_species,
)
VARIANTS: dict[str, Algorithm] = {k: x for family in FAMILIES for k, x in family.VARIANTS.items()}
TWINS: Twins = {k: x for family in FAMILIES for k, x in family.TWINS.items()}
TOTALS = (4, 5, 7, 12)


@cache
def digest_on_one_rank(variant: str, total: int) -> str:
    """Return the SHA-256 of a variant's (W, d) float32 parameters with all workers on one rank."""
    return sha(Training(MPI.COMM_SELF, total, dtype="float32").run(VARIANTS[variant], STEPS))


def test_every_registered_algorithm_has_a_twin() -> None:
    synchronous = {x for x in ALGORITHMS.values() if not x.needs.asynchronous}
    assert synchronous == set(TWINS) == {type(v) for v in VARIANTS.values()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_algorithms_equal_their_serial_twins(variant: str) -> None:
    """Check one rank; on several ranks the bits are the same, as the next test shows."""
    algorithm = VARIANTS[variant]
    for total in TOTALS:
        algorithm.check(total)
        twin = Twin(total, SGD(lr=0.2, momentum=0.5))
        TWINS[type(algorithm)](twin, algorithm)
        x = Training(MPI.COMM_SELF, total).run(algorithm, STEPS)
        np.testing.assert_allclose(x, twin.x, rtol=0, atol=1e-12, err_msg=str(total))


SPREADS = {2: (12,), 3: (7,), 4: (4, 7)}
"""Numbers of workers by ranks: equal numbers on each, unequal ones, and one."""


@pytest.mark.mpi
@on(*SPREADS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_do_not_depend_on_placement(comm: MPI.Intracomm, variant: str) -> None:
    for total in SPREADS[comm.size]:
        spread = Training(comm, total, dtype="float32").run(VARIANTS[variant], STEPS)
        alone = comm.bcast(digest_on_one_rank(variant, total) if comm.rank == 0 else None)
        everywhere(comm, sha(all_rows(comm, spread)) == alone, total)


@pytest.mark.parametrize("variant", VARIANTS)
def test_one_worker_is_plain_sgd(variant: str) -> None:
    algorithm = VARIANTS[variant]
    expected = Training(MPI.COMM_SELF, 1).run(LocalSGD(period=0), STEPS)
    x = Training(MPI.COMM_SELF, 1).run(algorithm, STEPS)
    exceptions = [x for family in FAMILIES for x in getattr(family, "MORE_THAN_SGD", ())]
    if isinstance(algorithm, tuple(exceptions)):  # a centre, outer step, lag or momentum remains
        assert np.abs(x - expected).max() > 1e-6
    else:
        np.testing.assert_allclose(x, expected, rtol=0, atol=1e-15)


@pytest.mark.parametrize("variant", [k for k, x in VARIANTS.items() if x.needs.conserves])
def test_declared_sums_are_conserved(variant: str) -> None:
    finding = conservation(VARIANTS[variant], TOTALS)
    assert finding.state == OK, finding


def documented_algorithm() -> Algorithm:
    """Return the algorithm in the docstring of algorithms.protocol, executed as written."""
    text = protocol.__doc__ or ""
    lines = [line for line in text.splitlines() if not line or line.startswith("    ")]
    code = compile(dedent("\n".join(lines)), "docstring", "exec", dont_inherit=True)
    names: dict[str, Any] = {"__name__": "docstring"}
    exec(code, names)
    algorithm: Algorithm = names["RingAverage"](lazy=0.25)
    return algorithm


def test_the_documented_algorithm_validates_its_options() -> None:
    with pytest.raises(ValueError, match=r"lazy must be in \[0, 1\), got 2"):
        type(documented_algorithm())(lazy=2)  # type: ignore[call-arg]


@pytest.mark.mpi
def test_the_documented_algorithm_equals_its_twin(comm: MPI.Intracomm) -> None:
    for total in TOTALS:
        algorithm, twin = documented_algorithm(), Twin(total, SGD(lr=0.2, momentum=0.5))
        algorithm.check(total)
        P = 0.75 * twin.exchange.mixing(Ring(), "uniform", 0).matrix() + 0.25 * np.eye(total)
        for _ in range(STEPS):
            twin.x = P @ (twin.x - twin.direction(twin.gradient(twin.x)))
        training = Training(comm, total)
        x = training.run(algorithm, STEPS)
        apart = np.abs(x - twin.x[training.workers.ids]).max()
        everywhere(comm, apart < 1e-12, total, apart)  # float64, about 25 rounds
