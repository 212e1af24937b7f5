"""The tracing meter: counters equal to those of a plain meter, and matching message numbers."""

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
"""All-reduces with one and with two messages a round, in shared memory, and of MPI itself."""


def use_exchange(exchange: MPIExchange, turn: int) -> None:
    """Call each operation of an exchange: blocking, started and group means, pulls and mixes."""
    rows = np.full((len(exchange.ids), D), 1.0 + turn)
    home = exchange.rows(D)
    exchange.mean(home)
    started = [exchange.start_mean(x) for x in (rows.copy(), rows.copy())]
    for each in started:
        each.test()
    for each in started:
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


def message_ends(comm: MPI.Intracomm, events: list[Event], kind: int) -> Counter[tuple[int, ...]]:
    """Count (sender, receiver, bytes, number) of all messages as one end has recorded them."""
    local = [(e[5], e[4], e[6]) for e in events if e[1] == kind and e[6] >= 0]
    pairs = [
        (rank, peer, *rest) if kind == SENT else (peer, rank, *rest)
        for rank, messages in enumerate(comm.allgather(local))
        for peer, *rest in messages
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
        tracing.tracing = turn > 0  # numbers also advance without tracing
        before = counts(tracing)
        tracing.start()
        for exchange in exchanges:
            use_exchange(exchange, turn)
        everywhere(comm, counts(meters[0]) == counts(tracing), counts(tracing))
        events = tracing.take()
        sent = [e for e in events if e[1] == SENT]
        moved = tuple(x - y for x, y in zip(counts(tracing), before, strict=True))
        traced = (len(sent), sum(e[4] for e in sent))
        everywhere(comm, traced == (moved[:2] if turn else (0, 0)), traced, moved)
        everywhere(
            comm, message_ends(comm, events, SENT) == message_ends(comm, events, RECEIVED), turn
        )
        everywhere(
            comm,
            max(message_ends(comm, events, SENT).values(), default=1) == 1,
            "numbers are unique",
        )
        if allreduce != "library":
            everywhere(comm, all(e[5] in range(comm.size) for e in sent), sent)
    for exchange in exchanges:
        exchange.close()


@pytest.mark.mpi
def test_messages_across_the_start_of_a_trace(comm: MPI.Intracomm) -> None:
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
    sent, received = message_ends(comm, traced, SENT), message_ends(comm, traced, RECEIVED)
    both = sent & received
    # k = 1 is received, k = 3 is sent
    everywhere(comm, both.total() == sent.total() // 2, sent, received)
    exchange.close()


@pytest.mark.mpi
def test_one_sided_messages_name_their_target(comm: MPI.Intracomm) -> None:
    meter = TracingMeter(comm)
    exchange = MPIExchange(comm, TOTAL, dtype="float64", meter=meter)
    meter.tracing = True
    rows = exchange.shared_rows(np.ones((len(exchange.ids), D)))
    meter.start()
    other = exchange.placement.bounds[(comm.rank + 1) % comm.size]
    rows.average(exchange.ids[0], other)
    rows.meet()
    messages = [(e[4], e[5], e[6]) for e in meter.take() if e[0] >= 0 and e[1] == SENT]
    target = (comm.rank + 1) % comm.size
    everywhere(comm, messages == ([(8 * D, target, -1)] * 2 if comm.size > 1 else []), messages)
    exchange.close()


def test_phases_of_a_step_have_no_gaps() -> None:
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
