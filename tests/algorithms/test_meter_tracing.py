"""A tracing meter counts what a meter counts, and both ends of every message find each other."""

import time
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.exchange.mpi import MPIExchange
from algorithms.topologies.exponential import Exponential
from algorithms.topologies.ring import Ring
from algorithms.wire.meter import (
    GRADIENT,
    OTHER,
    PHASES,
    RECEIVED,
    SENT,
    WAIT,
    Event,
    Meter,
    TracingMeter,
)
from tests.helpers import everywhere

TOTAL, D = 7, 40
ALLREDUCES_TRIED = ("recursive_doubling", "double_binary_tree", "hierarchical", "library")
"""One by messages, one with two messages of a rank in a round, one in shared memory, MPI's own."""


def use(exchange: MPIExchange, turn: int) -> None:
    """Every way of an exchange once: means at once, in flight and of groups, rounds, windows."""
    rows = np.full((len(exchange.ids), D), 1.0 + turn)
    home = exchange.rows(D)
    exchange.mean(home)
    flying = [exchange.start_mean(x) for x in (rows.copy(), rows.copy())]
    for each in flying:
        each.test()
    for each in flying:
        each.finish()
    exchange.mean(rows, group=3)
    out = np.empty_like(rows)
    exchange.pull(rows, exchange.links(Ring(), turn), out)
    pulls = [
        exchange.start_mix(rows, exchange.mixing(topology, "uniform", turn), np.empty_like(rows))
        for topology in (Exponential(), Ring())
    ]
    for pull in pulls:
        pull.finish()


def counts(meter: Meter) -> tuple[int, int, int]:
    return meter.messages, meter.bytes_sent, meter.bytes_copied


def ends(comm: MPI.Intracomm, events: list[Event], kind: int) -> Counter[tuple[int, ...]]:
    """(sender, receiver, bytes, number) of the messages of all ranks, as one end has them."""
    mine = [(e[5], e[4], e[6]) for e in events if e[1] == kind and e[6] >= 0]
    pairs = [
        (rank, peer, *rest) if kind == SENT else (peer, rank, *rest)
        for rank, theirs in enumerate(comm.allgather(mine))
        for peer, *rest in theirs
    ]
    return Counter(pairs)


@pytest.mark.mpi
@pytest.mark.parametrize("allreduce", ALLREDUCES_TRIED)
def test_both_ends_of_a_message_get_its_number(comm: MPI.Intracomm, allreduce: str) -> None:
    meters = Meter(), TracingMeter(comm)
    exchanges = [
        MPIExchange(comm, TOTAL, allreduce=allreduce, dtype="float64", meter=meter)
        for meter in meters
    ]
    tracing = meters[1]
    for turn in range(3):
        tracing.tracing = turn > 0  # the numbers go on before, too
        before = counts(tracing)
        tracing.start()
        for exchange in exchanges:
            use(exchange, turn)
        everywhere(comm, counts(meters[0]) == counts(tracing), counts(tracing))
        events = tracing.take()
        sent = [e for e in events if e[1] == SENT]
        moved = tuple(x - y for x, y in zip(counts(tracing), before, strict=True))
        told = (len(sent), sum(e[4] for e in sent))
        everywhere(comm, told == (moved[:2] if turn else (0, 0)), told, moved)
        everywhere(comm, ends(comm, events, SENT) == ends(comm, events, RECEIVED), turn)
        everywhere(comm, max(ends(comm, events, SENT).values(), default=1) == 1, "numbers are once")
        if allreduce != "library":
            everywhere(comm, all(e[5] in range(comm.size) for e in sent), sent)
    for exchange in exchanges:
        exchange.close()


@pytest.mark.mpi
def test_messages_in_flight_across_the_edge_of_a_trace(comm: MPI.Intracomm) -> None:
    meter = TracingMeter(comm)
    exchange = MPIExchange(comm, TOTAL, dtype="float64", meter=meter)
    rows = np.ones((len(exchange.ids), D))
    outs = [np.empty_like(rows) for _ in range(4)]
    pulls, traced = [], []
    for k, out in enumerate(outs):
        meter.tracing = k >= 2
        meter.start()
        pulls.append(exchange.start_pull(rows, exchange.links(Ring(), 0), out))
        if k:
            pulls.pop(0).finish()
        traced += meter.take()
    pulls.pop().finish()
    sent, came = ends(comm, traced, SENT), ends(comm, traced, RECEIVED)
    both = sent & came
    everywhere(comm, both.total() == sent.total() // 2, sent, came)  # k = 1 came, k = 3 left
    exchange.close()


@pytest.mark.mpi
def test_one_sided_messages_name_who_they_reach(comm: MPI.Intracomm) -> None:
    meter = TracingMeter(comm)
    exchange = MPIExchange(comm, TOTAL, dtype="float64", meter=meter)
    meter.tracing = True
    rows = exchange.shared_rows(np.ones((len(exchange.ids), D)))
    meter.start()
    other = exchange.bounds[(comm.rank + 1) % comm.size]
    rows.average(exchange.ids[0], other)
    rows.meet()
    kept = [(e[4], e[5], e[6]) for e in meter.take() if e[0] >= 0 and e[1] == SENT]
    there = (comm.rank + 1) % comm.size
    everywhere(comm, kept == ([(8 * D, there, -1)] * 2 if comm.size > 1 else []), kept)
    exchange.close()


def test_phases_of_a_step_follow_each_other_without_a_gap() -> None:
    meter = TracingMeter(MPI.COMM_SELF)
    meter.lap(OTHER)
    assert meter.take() == []
    meter.tracing = True
    starts = []
    for _ in range(2):
        starts.append(meter.start())
        for phase in (GRADIENT, WAIT, WAIT, OTHER):
            before = list(meter.ns)
            time.sleep(1e-4)
            meter.lap(phase)
            assert meter.ns[phase] > before[phase]
    events = meter.take()
    assert [e[:2] for e in events] == [
        (k, x) for k in (0, 1) for x in (GRADIENT, WAIT, WAIT, OTHER)
    ]
    for step, start in enumerate(starts):
        laps = [e for e in events if e[0] == step]
        assert laps[0][2] == start
        assert all(a[2] + a[3] == b[2] for a, b in pairwise(laps))
    totals = [sum(e[3] for e in events if e[1] == phase) for phase in range(len(PHASES))]
    assert [x for k, x in enumerate(meter.ns) if k != OTHER] == totals[:-1]
    assert meter.take() == []


def test_messages_without_a_lap_between_them_do_not_overlap() -> None:
    meter = TracingMeter(MPI.COMM_SELF)
    meter.tracing = True
    meter.start()
    for nbytes in (8, 16):
        meter.sent(nbytes)
    first, second = (e[2:5] for e in meter.take())
    assert first[0] + first[1] <= second[0]
    assert (first[2], second[2]) == (8, 16)
    assert (meter.messages, meter.bytes_sent) == (2, 24)
