"""Every all-reduce: exact sums, equal results on all ranks, and traffic equal to its formula."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.collectives import ALLREDUCES, auto, choices, shared_memory
from algorithms.collectives.auto import Auto
from algorithms.collectives.protocol import AllReduce
from algorithms.wire import carrier as messages
from algorithms.wire.carrier import Scheduled
from algorithms.wire.meter import Meter
from algorithms.wire.placement import Placement
from algorithms.wire.sums import TreeSum
from tests.helpers import Array, everywhere, on, sha

pytestmark = pytest.mark.mpi

NAMES = list(ALLREDUCES)
BY_MESSAGES = [name for name, kind in ALLREDUCES.items() if issubclass(kind, Scheduled)]
LAYOUTS = {
    "one": (0, 0, 0, 0),
    "pairs": (0, 0, 1, 1),
    "ragged": (0, 0, 0, 1),
    "apart": (0, 1, 2, 3),
    "mixed": (0, 1, 0, 1),
}
"""Simulated node of each rank."""


@pytest.fixture(autouse=True)
def _quick_auto(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Give each test its own cache of measurements, and let `auto` time three calls."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(auto, "PASSES", 1)
    monkeypatch.setattr(auto, "PASS_NS", 0)


def plan_of(
    comm: MPI.Intracomm, name: str, d: int, dtype: str = "float64", meter: Meter | None = None
) -> AllReduce:
    """Return a plan with one worker a rank."""
    each = Placement.dealt(comm.size, comm.size)
    return ALLREDUCES[name](comm, d, np.dtype(dtype), each, meter or Meter())


def fill(plan: AllReduce, rows: Array, first: int) -> None:
    """Write the sums of this rank's rows, of workers from `first`, to the parts of the plan."""
    for part, (lo, hi) in zip(plan.parts, plan.spans, strict=True):
        part[:] = rows[lo - first : hi - first].sum(0)


@lru_cache(maxsize=16)
def integers(total: int, d: int, dtype: str) -> Array:
    """Return random integers for each worker, (total, d); drawn once for all all-reduces."""
    return np.random.default_rng(d).integers(-99, 99, (total, d)).astype(dtype)


@pytest.mark.parametrize("name", NAMES)
def test_sums_integers_exactly(comm: MPI.Intracomm, name: str) -> None:
    """Check each type at one or two numbers of ranks, and long vectors at three and four."""
    p, r = comm.size, comm.rank
    dtype = ("float32", "float64", "int64")[p % 3]
    long = (1_000_003,) if p > 2 else ()
    for d in (0, 1000) if name == "auto" else (0, 1, p - 1, p, p + 1, 1000, *long):
        for total in (p, 3 * p + 2) if d < 1_000_000 else (p,):
            placement = Placement.dealt(total, p)
            lo, hi = placement.span(r)
            rows = integers(total, d, dtype)
            plan = ALLREDUCES[name](comm, d, np.dtype(dtype), placement, Meter())
            for _ in range(2):  # plans are reusable
                fill(plan, rows[lo:hi], lo)
                plan()
                exact = np.array_equal(plan.parts[0], rows.sum(0))
                everywhere(comm, exact, name, d, total)
            plan.close()


@pytest.mark.parametrize("name", NAMES)
def test_results_agree_to_the_bit_between_ranks_and_calls(comm: MPI.Intracomm, name: str) -> None:
    d, p = 5003, comm.size
    vector = np.random.default_rng(comm.rank).standard_normal(d).astype(np.float32)
    plan = ALLREDUCES[name](comm, d, vector.dtype, Placement.dealt(p, p), Meter())
    hashes = []
    for _ in range(3):
        plan.parts[0][:] = vector
        plan(divisor=p)
        hashes.append(sha(plan.parts[0]))
    digests = {digest for rank in comm.allgather(hashes) for digest in rank}
    everywhere(comm, len(digests) == 1, name)
    mean = comm.allreduce(vector.astype(np.float64)) / p
    everywhere(comm, np.allclose(plan.parts[0], mean, atol=1e-6))  # float32, 4 terms
    plan.close()


@on(3)
@pytest.mark.parametrize("name", NAMES)
def test_nan_and_infinity_propagate(comm: MPI.Intracomm, name: str) -> None:
    plan = ALLREDUCES[name](
        comm, 9, np.dtype("float32"), Placement.dealt(comm.size, comm.size), Meter()
    )
    for value in (np.nan, np.inf):
        plan.parts[0][:] = 1
        if comm.rank == comm.size - 1:
            plan.parts[0][4] = value
        plan(divisor=2)
        element = plan.parts[0][4]
        everywhere(comm, np.isnan(element) if np.isnan(value) else element == value)
        everywhere(comm, np.isfinite(np.delete(plan.parts[0], 4)).all())
    plan.close()


def test_recursive_doubling_adds_in_the_order_of_the_tree(comm: MPI.Intracomm) -> None:
    d, p, r = 33, comm.size, comm.rank
    for total in range(p, 4 * p + 3):
        rows = np.random.default_rng(total).standard_normal((total, d)).astype(np.float32)
        expected = np.empty(d, np.float32)
        TreeSum(total, (0, total), d, rows.dtype)(rows, expected)
        plan = ALLREDUCES["recursive_doubling"](
            comm, d, rows.dtype, Placement.dealt(total, p), Meter()
        )
        for part, span in zip(plan.parts, plan.spans, strict=True):
            TreeSum(total, span, d, rows.dtype)(rows[slice(*span)], part)
        plan()
        everywhere(comm, np.array_equal(plan.parts[0], expected), total, r)


@on(3, 4)
@pytest.mark.parametrize("name", BY_MESSAGES)
def test_meter_counts_the_messages_of_the_schedule(comm: MPI.Intracomm, name: str) -> None:
    d, meter = 1003, Meter()
    kind = ALLREDUCES[name]
    assert issubclass(kind, Scheduled)
    plan = kind.schedule(comm.rank, Placement.dealt(comm.size, comm.size), d, 8)
    plan_of(comm, name, d, meter=meter)()
    traffic = (meter.messages, meter.bytes_sent)
    everywhere(comm, traffic == (plan.messages(), plan.elements() * 8), traffic)


@on(3, 4)
@pytest.mark.parametrize("name", NAMES)
def test_started_calls_equal_blocking_calls_with_traffic_between(
    comm: MPI.Intracomm, name: str
) -> None:
    p, r = comm.size, comm.rank
    plans = [plan_of(comm, name, 1000 + k) for k in range(3)]
    other_traffic = np.full(1, r)
    for k, plan in enumerate(plans):
        plan.parts[0][:] = r + 10 * k
    for plan in plans:
        plan.start(divisor=2)
    comm.Allreduce(MPI.IN_PLACE, other_traffic)
    if r % 2:  # ranks progress the messages in different orders
        plans[2].test()
    for plan in (plans[1], plans[0], plans[2]):
        plan.finish()
    for k, plan in enumerate(plans):
        total = (p * (p - 1) / 2 + 10 * k * p) / 2
        everywhere(comm, (plan.parts[0] == total).all(), name, k)
        plan.close()


@on(2, 3)
@pytest.mark.parametrize("name", NAMES)
def test_polling_completes_a_started_call(comm: MPI.Intracomm, name: str) -> None:
    plan = plan_of(comm, name, 5000)
    for _ in range(2):
        plan.parts[0][:] = 1
        plan.start()
        while not plan.test():
            pass
        plan.finish()
        everywhere(comm, (plan.parts[0] == comm.size).all(), name)
    plan.close()


@on(3, 4)
@pytest.mark.parametrize("name", [*BY_MESSAGES, "hierarchical", "library"])
def test_long_messages_are_split(
    comm: MPI.Intracomm, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    d, whole, cut = 1003, Meter(), Meter()
    monkeypatch.setattr(shared_memory, "on_node", node_split(LAYOUTS["pairs"]))
    plan_of(comm, name, d, meter=whole)()
    monkeypatch.setattr(messages, "MOST_BYTES", 100)  # 12 numbers; the limit is 2^30 bytes
    plan = plan_of(comm, name, d, meter=cut)
    plan.parts[0][:] = np.arange(d)
    plan()
    everywhere(comm, np.array_equal(plan.parts[0], comm.size * np.arange(d)), name)
    everywhere(comm, cut.bytes_sent == whole.bytes_sent)
    everywhere(comm, cut.messages > 2 * whole.messages or whole.bytes_sent <= 200, cut.messages)
    plan.close()


def node_split(layout: tuple[int, ...]) -> Callable[[MPI.Intracomm], MPI.Intracomm]:
    """Return a split of a communicator into simulated nodes."""

    def on_node(comm: MPI.Intracomm) -> MPI.Intracomm:
        node = comm.Split(layout[comm.rank], comm.rank)
        assert isinstance(node, MPI.Intracomm)
        return node

    return on_node


@pytest.mark.parametrize("layout", LAYOUTS)
def test_hierarchical_is_exact_on_any_layout_and_sends_only_between_nodes(
    comm: MPI.Intracomm, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, "on_node", node_split(LAYOUTS[layout]))
    p, r = comm.size, comm.rank
    nodes = len(set(LAYOUTS[layout][:p]))
    for d in (0, 1, p, 1003, 100_003):
        rows = np.random.default_rng(d).integers(-99, 99, (p, d)).astype(float)
        meter = Meter()
        plan = plan_of(comm, "hierarchical", d, meter=meter)
        for _ in range(2):
            plan.parts[0][:] = rows[r]
            plan(divisor=2)
            everywhere(comm, np.array_equal(plan.parts[0], rows.sum(0) / 2), layout, d)
        sent = comm.allreduce(meter.bytes_sent) // 2
        # N nodes by recursive doubling or halving: N log2 N or 2 (N - 1) vectors
        vectors = {sent // (8 * d)} if d else {0}
        allowed = {1: {0}, 2: {2}, 3: {4}, 4: {6, 8}}[nodes]
        everywhere(comm, not d or vectors <= allowed, layout, d, sent)
        plan.close()


def test_shared_memory_needs_one_node(comm: MPI.Intracomm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_memory, "on_node", node_split(LAYOUTS["apart"]))
    if comm.size == 1:
        plan_of(comm, "shared_memory", 5).close()
        return
    rule = f"needs all {comm.size} ranks on one node, got 1 on this node"
    with pytest.raises(ValueError, match=rule):
        plan_of(comm, "shared_memory", 5)


def test_auto_measures_once_and_caches_the_choice(
    comm: MPI.Intracomm, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = plan_of(comm, "auto", 300)
    assert isinstance(first, Auto)
    everywhere(comm, first.chosen in ALLREDUCES and first.chosen != "auto", first.chosen)
    everywhere(comm, len(set(comm.allgather(first.chosen))) == 1)
    everywhere(comm, not first.remembered)

    def never(*_: object) -> None:
        raise AssertionError("measured again")

    first.close()
    measure = auto.measure
    monkeypatch.setattr(auto, "measure", never)
    again = plan_of(comm, "auto", 300)
    assert isinstance(again, Auto)
    everywhere(comm, again.remembered and again.chosen == first.chosen)
    again.close()
    monkeypatch.setattr(auto, "measure", measure)
    other = plan_of(comm, "auto", 301)  # another size
    assert isinstance(other, Auto)
    everywhere(comm, not other.remembered)
    other.close()


@on(2)
def test_auto_measures_an_old_choice_again(
    comm: MPI.Intracomm, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = replace(choices.conditions(comm), load=0.0, shared=False)
    key, names = choices.key(where, comm.size, np.dtype("float64")), ["star", "ring"]
    monkeypatch.setattr(Auto, "candidates", {name: ALLREDUCES[name] for name in names})
    monkeypatch.setattr(auto, "PASS_NS", 1000)
    now = datetime.now(UTC)
    for days, remembered in ((choices.MAX_AGE_DAYS - 1, True), (choices.MAX_AGE_DAYS + 1, False)):
        old = choices.choice(where, {"ring": 1.0, "star": 2.0}, "auto", now - timedelta(days))
        choices.remember(key, 56, old)
        plan = plan_of(comm, "auto", 7)
        assert isinstance(plan, Auto)
        everywhere(comm, plan.remembered == remembered, days)
        plan.close()
        new = choices.recall(key, 56)
        changed = comm.rank == 0 and not remembered
        everywhere(comm, new and (new.date > old.date if changed else new == old), new)


@on(2)
def test_auto_measures_a_choice_of_the_first_format_again(comm: MPI.Intracomm) -> None:
    where = choices.conditions(comm)
    file, key = choices.cache_file(), choices.key(where, comm.size, np.dtype("float64"))
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps({key: {"56": "star"}}))
    plan = plan_of(comm, "auto", 7)
    assert isinstance(plan, Auto)
    everywhere(comm, not plan.remembered)
    plan.close()


@on(2)
@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1}', '{"format": 2, "choices": [1]}'])
def test_auto_ignores_a_damaged_or_unwritable_cache(
    comm: MPI.Intracomm, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(auto, "PASS_NS", 1000)
    file = choices.cache_file()
    file.parent.mkdir(parents=True)
    file.write_text(text)
    plan = plan_of(comm, "auto", 7)
    assert isinstance(plan, Auto)
    everywhere(comm, not plan.remembered)
    plan.close()
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # a folder below a file
    plan_of(comm, "auto", 7).close()


def test_shared_memory_sends_nothing_and_copies_two_slices(comm: MPI.Intracomm) -> None:
    p, d = comm.size, 4096
    meter = Meter()
    plan = ALLREDUCES["shared_memory"](comm, d, np.dtype("float32"), Placement.dealt(p, p), meter)
    plan()
    everywhere(comm, (meter.messages, meter.bytes_sent) == (0, 0))
    everywhere(comm, comm.allreduce(meter.bytes_copied) == 2 * (p - 1) * d * 4)
    plan.close()
