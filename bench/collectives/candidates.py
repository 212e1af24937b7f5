"""The all-reduces that compete: built for one size, tried once, closed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from algorithms.collectives import ALLREDUCES
from algorithms.collectives.auto import Auto
from algorithms.wire.meter import Meter
from bench.collectives import payload
from bench.collectives.config import YARDSTICK, Config
from bench.collectives.options import AGAINST
from bench.collectives.out_of_place import OutOfPlace
from bench.common.spec import UserError
from bench.session.launch import on_all_ranks

if TYPE_CHECKING:
    from mpi4py import MPI


class Plan(Protocol):
    """What is needed of an all-reduce here: see algorithms.collectives.protocol.AllReduce."""

    @property
    def parts(self) -> Sequence[NDArray[Any]]:
        """parts[0], (d,): what this rank contributes, and the sum after a call."""
        ...

    def __call__(self) -> None:
        """Sum over the ranks; collective."""
        ...

    def close(self) -> None:
        """Release what the operating system lent; collective."""
        ...


Maker: TypeAlias = Callable[[Any, int, Any, list[int], Meter], Plan]
"""Called as cls(comm, d, dtype, bounds, meter)."""
UNKNOWN = -1


@dataclass
class Candidate:
    """One all-reduce, planned for one size."""

    name: str
    plan: Plan
    meter: Meter
    chosen: str = ""
    """The algorithm that a choosing one took; empty for one that does not choose."""
    wrong: int = UNKNOWN
    """Wrong elements over all ranks, the most of all checks; -1: not checked."""
    messages: int = UNKNOWN
    """Sent in one call by the rank that sends most; -1 where nobody counts."""
    bytes_sent: int = UNKNOWN

    @property
    def vector(self) -> NDArray[Any]:
        """(d,) this rank's part."""
        return self.plan.parts[0]

    @property
    def sum(self) -> NDArray[Any]:
        """(d,) the sum after a call: mostly in the place of this rank's part."""
        return self.plan.sum if isinstance(self.plan, OutOfPlace) else self.vector


def makers(comm: MPI.Intracomm, names: Sequence[str]) -> dict[str, Maker]:
    """What builds each candidate, by name; collective."""
    made: dict[str, Maker] = {name: ALLREDUCES[name] for name in names if name not in AGAINST}
    if "out_of_place" in names:
        made["out_of_place"] = OutOfPlace
    if "gloo" in names:
        from bench.yardsticks.distributed import Gloo, open_group

        open_group(comm)
        made["gloo"] = Gloo
    return {name: made[name] for name in names}


def finish(comm: MPI.Intracomm, made: Mapping[str, Maker]) -> None:
    """End what `makers` started; collective."""
    if "gloo" in made:
        from bench.yardsticks.distributed import close_group

        close_group(comm)


def build(
    comm: MPI.Intracomm, made: Mapping[str, Maker], d: int, dtype: str
) -> tuple[list[Candidate], dict[str, str]]:
    """A plan of each for (d,) vectors, and the reason of those that refuse; collective."""
    candidates, refused = [], {}
    bounds = list(range(comm.size + 1))
    for name, maker in made.items():
        meter = Meter()
        try:
            plan = on_all_ranks(comm, lambda: maker(comm, d, np.dtype(dtype), bounds, meter))  # noqa: B023
        except UserError as reason:
            refused[name] = str(reason)
            continue
        if isinstance(plan, Auto):
            candidates.append(Candidate(name, plan.plan, meter, plan.chosen))
        else:
            candidates.append(Candidate(name, plan, meter))
    return candidates, refused


def close(candidates: Sequence[Candidate]) -> None:
    """Close every plan; collective."""
    for candidate in candidates:
        candidate.plan.close()


def leave_out(comm: MPI.Intracomm, config: Config, made: dict[str, Maker]) -> list[str]:
    """Take out of `made` what does not serve these ranks; return a note for each; collective.

    Errors: UserError on every rank where the user named one of them.
    """
    candidates, refused = build(comm, made, config.sizes[0] // config.itemsize, config.dtype)
    close(candidates)
    for name, reason in refused.items():
        if name in (*config.algorithms, *config.against, YARDSTICK):
            raise UserError(f"{name}: {reason}")
        del made[name]
    return [f"{name} is left out: {reason}" for name, reason in refused.items()]


def examine(comm: MPI.Intracomm, candidates: Sequence[Candidate], check: bool) -> None:
    """Call each once, untimed: count what it sends and what comes out wrong; collective."""
    for candidate in candidates:
        meter = candidate.meter
        payload.fill(candidate.vector, comm.rank)
        before = meter.messages, meter.bytes_sent
        candidate.plan()
        sent = (meter.messages - before[0], meter.bytes_sent - before[1])
        wrong = payload.wrong(candidate.sum, comm.size) if check else 0
        found = np.array(comm.allgather((*sent, wrong)))
        if candidate.name not in AGAINST:
            candidate.messages, candidate.bytes_sent = (int(x) for x in found[:, :2].max(0))
        if check:
            candidate.wrong = max(candidate.wrong, int(found[:, 2].sum()))
