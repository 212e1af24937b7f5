"""Candidates of a measurement: all-reduces planned for one size, validated on known vectors.

Element i of rank r is (r mod 256) + 1 + (i mod 1021): a rank counted twice, omitted or confused
with another, and a misplaced chunk, all change the sum; 1021 is prime, so that no chunk of a power
of two elements goes unnoticed. Every partial sum is below 2^24, exact in float32, up to 13,000
ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from algorithms.collectives import ALLREDUCES
from algorithms.collectives.auto import Auto
from algorithms.collectives.library import cuts
from algorithms.wire.meter import Meter
from bench.collectives.config import OUT_OF_PLACE, YARDSTICK, Config
from bench.collectives.options import AGAINST
from bench.common.spec import UserError
from bench.session.launch import on_all_ranks

if TYPE_CHECKING:
    from mpi4py import MPI

RANK_PERIOD, ELEMENT_PERIOD = 256, 1021
PATTERN = np.arange(ELEMENT_PERIOD * 64) % ELEMENT_PERIOD
"""Pattern of one block: the validation of a vector needs no second vector of its size."""
UNKNOWN = -1


class Plan(Protocol):
    """Planned all-reduce, as in algorithms.collectives.protocol.AllReduce."""

    @property
    def parts(self) -> Sequence[NDArray[Any]]:
        """parts[0], (d,): contribution of this rank, and the sum after a call."""
        ...

    def __call__(self) -> None:
        """Sum over the ranks; collective."""
        ...

    def close(self) -> None:
        """Release resources of the operating system; collective."""
        ...


Maker: TypeAlias = Callable[[Any, int, Any, list[int], Meter], Plan]
"""Called as maker(comm, d, dtype, bounds, meter)."""


class OutOfPlace:
    """MPI_Allreduce from one buffer to another, as OSU and IMB call it; `library` is in place."""

    def __init__(
        self, comm: MPI.Intracomm, d: int, dtype: np.dtype[Any], bounds: list[int], meter: Meter
    ) -> None:
        self.parts: list[NDArray[Any]] = [np.zeros(d, dtype)]
        """parts[0], (d,): contribution of this rank, unchanged by a call."""
        self.sum: NDArray[Any] = np.zeros(d, dtype)
        """(d,) sum after a call."""
        self._pieces = [(self.parts[0][cut], self.sum[cut]) for cut in cuts(d, dtype)]
        self._reduce = comm.Allreduce

    def __call__(self) -> None:
        """Set `sum` to the sum over the ranks, without counting messages; collective."""
        for part, total in self._pieces:
            self._reduce(part, total)

    def close(self) -> None:
        """Do nothing: there are no resources to release."""


class CopiedIn:
    """In-place all-reduce called from one buffer to another, as a user of both buffers calls it.

    The copy of the contribution is part of a call.
    """

    def __init__(self, plan: Plan) -> None:
        self.sum: NDArray[Any] = plan.parts[0]
        """(d,) sum after a call."""
        self.parts: list[NDArray[Any]] = [np.zeros_like(self.sum)]
        """parts[0], (d,): contribution of this rank, unchanged by a call."""
        self._reduce = plan
        self.close = plan.close

    def __call__(self) -> None:
        """Set `sum` to the sum over the ranks; collective."""
        np.copyto(self.sum, self.parts[0])
        self._reduce()


@dataclass
class Candidate:
    """One all-reduce, planned for one size."""

    name: str
    plan: Plan
    meter: Meter
    chosen: str = ""
    """Algorithm that a selecting candidate chose; empty for any other."""
    wrong: int = UNKNOWN
    """Wrong elements over all ranks, the maximum of all validations; -1: not validated."""
    messages: int = UNKNOWN
    """Messages of one call by the rank that sends most; -1: not counted."""
    bytes_sent: int = UNKNOWN
    """Bytes of one call by the rank that sends most; -1: not counted."""

    @property
    def vector(self) -> NDArray[Any]:
        """Contribution of this rank, (d,)."""
        return self.plan.parts[0]

    @property
    def sum(self) -> NDArray[Any]:
        """Sum after a call, (d,); the vector itself for an in-place candidate."""
        return self.plan.sum if isinstance(self.plan, OutOfPlace | CopiedIn) else self.vector


def makers(comm: MPI.Intracomm, names: Sequence[str]) -> dict[str, Maker]:
    """Return the constructor of each candidate by name; collective."""
    constructors: dict[str, Maker] = {
        **ALLREDUCES,
        "out_of_place": OutOfPlace,
        YARDSTICK + OUT_OF_PLACE: OutOfPlace,
    }
    if "gloo" in names:
        from bench.yardsticks.distributed import Gloo, open_group

        open_group(comm)
        constructors["gloo"] = Gloo
    return {
        name: constructors.get(name) or constructors[name.removesuffix(OUT_OF_PLACE)]
        for name in names
    }


def finish(comm: MPI.Intracomm, constructors: Mapping[str, Maker]) -> None:
    """Close the process group that `makers` opened; collective."""
    if "gloo" in constructors:
        from bench.yardsticks.distributed import close_group

        close_group(comm)


def build(
    comm: MPI.Intracomm, constructors: Mapping[str, Maker], d: int, dtype: str
) -> tuple[list[Candidate], dict[str, str]]:
    """Plan each candidate for (d,) vectors; return them and the reasons of refusals; collective."""
    candidates, refusals = [], {}
    bounds = list(range(comm.size + 1))
    for name, maker in constructors.items():
        meter = Meter()
        try:
            plan = on_all_ranks(comm, lambda: maker(comm, d, np.dtype(dtype), bounds, meter))  # noqa: B023
        except UserError as reason:
            refusals[name] = str(reason)
            continue
        chosen = ""
        if isinstance(plan, Auto):
            chosen, plan = plan.chosen, plan.plan
        if name.endswith(OUT_OF_PLACE) and not isinstance(plan, OutOfPlace):
            plan = CopiedIn(plan)
        candidates.append(Candidate(name, plan, meter, chosen))
    return candidates, refusals


def close(candidates: Sequence[Candidate]) -> None:
    """Close every plan; collective."""
    for candidate in candidates:
        candidate.plan.close()


def drop_unsupported(
    comm: MPI.Intracomm, config: Config, constructors: dict[str, Maker]
) -> list[str]:
    """Remove candidates that do not support these ranks; return a note for each; collective.

    Errors: UserError on every rank if the user named one of them.
    """
    candidates, refusals = build(
        comm, constructors, config.sizes[0] // config.itemsize, config.dtype
    )
    close(candidates)
    for name, reason in refusals.items():
        if name in (*config.algorithms, *config.against, YARDSTICK):
            raise UserError(f"{name}: {reason}")
        del constructors[name]
    return [f"{name} is left out: {reason}" for name, reason in refusals.items()]


def validate(comm: MPI.Intracomm, candidates: Sequence[Candidate], check: bool) -> None:
    """Call each candidate once, untimed, to count its messages and wrong elements; collective.

    check: False to count the messages alone.
    """
    for candidate in candidates:
        meter = candidate.meter
        fill(candidate.vector, comm.rank)
        before = meter.messages, meter.bytes_sent
        candidate.plan()
        sent = (meter.messages - before[0], meter.bytes_sent - before[1])
        wrong = count_wrong(candidate.sum, comm.size) if check else 0
        counts = np.array(comm.allgather((*sent, wrong)))
        uncounted = isinstance(candidate.plan, OutOfPlace)
        if not uncounted and candidate.name.removesuffix(OUT_OF_PLACE) not in AGAINST:
            candidate.messages, candidate.bytes_sent = (int(x) for x in counts[:, :2].max(0))
        if check:
            candidate.wrong = max(candidate.wrong, int(counts[:, 2].sum()))


def fill(vector: NDArray[Any], rank: int) -> None:
    """Set a vector, (d,), to the contribution of a rank."""
    for a in range(0, len(vector), len(PATTERN)):
        block = vector[a : a + len(PATTERN)]
        block[:] = PATTERN[: len(block)] + (rank % RANK_PERIOD + 1)


def count_wrong(vector: NDArray[Any], ranks: int) -> int:
    """Return the number of elements of a vector, (d,), that differ from the sum over the ranks."""
    weights = sum(rank % RANK_PERIOD + 1 for rank in range(ranks))
    wrong = 0
    for a in range(0, len(vector), len(PATTERN)):
        block = vector[a : a + len(PATTERN)]
        wrong += int(np.count_nonzero(block != PATTERN[: len(block)] * ranks + weights))
    return wrong
