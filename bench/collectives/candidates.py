"""Candidates of a measurement: collectives planned for one size, validated on known vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from algorithms.collectives import ALLREDUCES, OPERATIONS
from algorithms.collectives.auto import Auto
from algorithms.collectives.library import cuts
from algorithms.collectives.protocol import AllReduce, Collective
from algorithms.wire.meter import Meter
from algorithms.wire.placement import Placement
from bench.collectives.config import OUT_OF_PLACE, Config
from bench.collectives.options import AGAINST
from bench.collectives.validation import count_wrong, expected, fill
from bench.common.spec import UserError
from bench.results.rows import ALLREDUCE, YARDSTICK
from bench.session.launch import on_all_ranks

if TYPE_CHECKING:
    from mpi4py import MPI

UNKNOWN = -1


@dataclass
class Candidate:
    """One algorithm or yardstick, planned for one size."""

    name: str
    call: Callable[[], None]
    """The collective itself."""
    vector: NDArray[Any]
    """Contribution of this rank, (d,)."""
    result: NDArray[Any]
    """Result after a call; part of the vector if it is in place."""
    close: Callable[[], None]
    """Releases resources of the operating system; collective."""
    meter: Meter | None = None
    """Counter of messages; None if they cannot be observed."""
    chosen: str = ""
    """Algorithm that a selecting candidate chose; empty for any other."""
    wrong: int = UNKNOWN
    """Wrong elements over all ranks, the maximum of all validations; -1: not validated."""
    messages: int = UNKNOWN
    """Messages of one call by the rank that sends most; -1: not counted."""
    bytes_sent: int = UNKNOWN
    """Bytes of one call by the rank that sends most; -1: not counted."""


Maker: TypeAlias = "Callable[[str, MPI.Intracomm, int, np.dtype[Any]], Candidate]"
"""Called as maker(name, comm, d, dtype); collective."""


def in_place(
    kind: type[AllReduce], name: str, comm: MPI.Intracomm, d: int, dtype: np.dtype[Any]
) -> Candidate:
    """Return an all-reduce that replaces its vector by the sum."""
    meter = Meter()
    plan: AllReduce = kind(comm, d, dtype, Placement.dealt(comm.size, comm.size), meter)
    chosen = ""
    if isinstance(plan, Auto):
        chosen, plan = plan.chosen, plan.plan
    vector = plan.parts[0]
    return Candidate(
        name, plan, vector, vector, plan.close, None if name in AGAINST else meter, chosen
    )


def copied_in(
    kind: type[AllReduce], name: str, comm: MPI.Intracomm, d: int, dtype: np.dtype[Any]
) -> Candidate:
    """Return an all-reduce in place, called from one buffer to another: it copies its vector first.

    The copy is part of a call.
    """
    candidate = in_place(kind, name, comm, d, dtype)
    total, reduce, candidate.vector = candidate.result, candidate.call, np.zeros(d, dtype)

    def call() -> None:
        np.copyto(total, candidate.vector)
        reduce()

    candidate.call = call
    return candidate


def out_of_place(name: str, comm: MPI.Intracomm, d: int, dtype: np.dtype[Any]) -> Candidate:
    """Return MPI_Allreduce from one buffer to another, as OSU and IMB call it."""
    vector, total = np.zeros(d, dtype), np.zeros(d, dtype)
    pieces, reduce = [(vector[cut], total[cut]) for cut in cuts(d, dtype)], comm.Allreduce

    def call() -> None:
        for part, result in pieces:
            reduce(part, result)

    return Candidate(name, call, vector, total, close=lambda: None)


def other(
    kind: type[Collective], name: str, comm: MPI.Intracomm, d: int, dtype: np.dtype[Any]
) -> Candidate:
    """Return a collective of algorithms.collectives.OPERATIONS."""
    meter = Meter()
    plan = kind(comm, d, dtype, meter)
    counted = None if name == YARDSTICK else meter
    return Candidate(name, plan, plan.vector, plan.result, plan.close, counted)


def makers(comm: MPI.Intracomm, config: Config) -> dict[str, Maker]:
    """Return the constructor of each candidate by name; collective."""
    if config.op != ALLREDUCE:
        return {name: partial(other, OPERATIONS[config.op][name]) for name in config.measured}
    kinds: dict[str, type[Any]] = {**ALLREDUCES}
    if "gloo" in config.measured:
        from bench.yardsticks.distributed import Gloo, open_group

        open_group(comm)
        kinds["gloo"] = Gloo
    constructors: dict[str, Maker] = {}
    for name in config.measured:
        base = name.removesuffix(OUT_OF_PLACE)
        if name in ("out_of_place", YARDSTICK + OUT_OF_PLACE):
            constructors[name] = out_of_place
        else:
            constructors[name] = partial(in_place if name == base else copied_in, kinds[base])
    return constructors


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
    for name, maker in constructors.items():
        try:
            make = partial(maker, name, comm, d, np.dtype(dtype))
            candidates.append(on_all_ranks(comm, make))
        except UserError as reason:
            refusals[name] = str(reason)
    return candidates, refusals


def close(candidates: Sequence[Candidate]) -> None:
    """Close every plan; collective."""
    for candidate in candidates:
        candidate.close()


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


def validate(comm: MPI.Intracomm, op: str, candidates: Sequence[Candidate], check: bool) -> None:
    """Call each candidate once, untimed, to count its messages and wrong elements; collective.

    check: False to count the messages alone.
    """
    for candidate in candidates:
        meter = candidate.meter or Meter()
        fill(candidate.vector, comm.rank)
        before = meter.messages, meter.bytes_sent
        candidate.call()
        sent = (meter.messages - before[0], meter.bytes_sent - before[1])
        correct = expected(op, comm.rank, comm.size, len(candidate.vector)) if check else []
        counts = np.array(comm.allgather((*sent, count_wrong(candidate.result, correct))))
        if candidate.meter:
            candidate.messages, candidate.bytes_sent = (int(x) for x in counts[:, :2].max(0))
        if check:
            candidate.wrong = max(candidate.wrong, int(counts[:, 2].sum()))
