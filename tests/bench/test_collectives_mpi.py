"""Runs of bench.collectives on 2, 3 and 4 ranks: counts, wrong sums, refusals and clocks."""

import re
from pathlib import Path
from time import perf_counter_ns
from typing import Any, ClassVar, cast

import numpy as np
import pytest
from mpi4py import MPI

from algorithms.collectives import ALLREDUCES, OPERATIONS
from algorithms.collectives.all_gather import RingAllGather
from algorithms.collectives.auto import Auto
from algorithms.collectives.ring import Ring
from bench.collectives import memory
from bench.collectives.__main__ import measure
from bench.collectives.links import measure as measure_links
from bench.collectives.options import read
from bench.common.spec import UserError
from bench.results.calls import Calls, read_calls
from bench.results.claims import Claim
from bench.session import clocks
from bench.session.clocks import clock_offsets
from tests.helpers import everywhere, on

pytestmark = pytest.mark.mpi

QUICK = ("--time", "0.05", "-n", "6", "-w", "1", "-d", "double")


def run(comm: MPI.Intracomm, out: Path, *options: str) -> tuple[int, Calls | None]:
    """Return the number of wrong elements, on every rank, and the calls of the file on rank 0."""
    results: list[Claim] = []
    config = read([*QUICK, "--out", str(out), *options])
    wrong = comm.bcast(measure(comm, config, options, results))
    return wrong, read_calls(results[0].path) if comm.rank == 0 else None


def refusal(comm: MPI.Intracomm, out: Path, *options: str) -> str:
    """Return the message of the UserError that every rank must raise."""
    line = ""
    try:
        run(comm, out, *options)
    except UserError as error:
        line = str(error)
    everywhere(comm, line == comm.bcast(line) != "", line)
    return line


def test_one_rank_is_refused_and_ring_counts_exactly(comm: MPI.Intracomm, tmp_path: Path) -> None:
    p = comm.size
    options = ("-b", "96", "-e", "960", "-f", "10", "--algorithms", "ring")
    if p == 1:
        assert "launch with `mpirun -n 2 python -m bench.collectives`" in refusal(
            comm, tmp_path, *options
        )
        return
    wrong, calls = run(comm, tmp_path, *options)
    assert wrong == 0
    fine = True
    if calls:
        rows = [row for row in calls.rows() if row.algorithm == "ring"]
        fine = [row.bytes for row in rows] == [96, 960]
        fine &= all(row.messages == 2 * (p - 1) for row in rows)
        fine &= all(row.bytes_sent * p == 2 * (p - 1) * row.bytes for row in rows)
        fine &= calls.start_ns.shape == (calls.table["n"].sum(), p)
        fine &= bool((calls.duration_ns > 0).all() and (calls.table["wrong"] == 0).all())
    everywhere(comm, fine, calls and calls.table)


@on(2)
def test_other_libraries_are_measured(comm: MPI.Intracomm, tmp_path: Path) -> None:
    options = ("--against", "gloo,out_of_place", "--algorithms", "ring", "-b", "8", "-e", "64")
    wrong, calls = run(comm, tmp_path, *options, "-f", "8")
    everywhere(comm, wrong == 0, wrong)
    rows = calls.rows() if calls else []
    names = [row.algorithm for row in rows]
    everywhere(comm, not calls or names == ["ring", "gloo", "out_of_place", "library"] * 2, names)
    uncounted = [row.messages for row in rows if row.algorithm in ("gloo", "out_of_place")]
    everywhere(comm, not calls or uncounted == [-1] * 4, uncounted)


@on(3)
@pytest.mark.parametrize("op", OPERATIONS)
def test_every_algorithm_of_an_operation_is_measured(
    comm: MPI.Intracomm, tmp_path: Path, op: str
) -> None:
    p = comm.size
    wrong, calls = run(comm, tmp_path, "--op", op, "-b", "96", "-e", "96")
    everywhere(comm, wrong == 0, wrong)
    rows = calls.rows() if calls else []
    names = [row.algorithm for row in rows]
    everywhere(comm, not calls or names == list(OPERATIONS[op]), names)
    by_name = {row.algorithm: row for row in rows}
    fine = all(row.op == op and row.wrong == 0 for row in rows)
    if calls:
        fine &= by_name["library"].messages == -1
        simplest = by_name["chain" if op == "broadcast" else list(by_name)[-2]]
        fine &= simplest.messages == (1 if op == "broadcast" else p - 1)
    everywhere(comm, fine, by_name)


class WrongGather(RingAllGather):
    """All-gather with one wrong element on the last rank."""

    def __call__(self, divisor: int = 1) -> None:
        super().__call__(divisor)
        if self._comm.rank == self._comm.size - 1:
            self.result[0] += 1


@on(3)
def test_a_wrong_result_of_another_operation_is_counted(
    comm: MPI.Intracomm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OPERATIONS["all_gather"], "wrong", WrongGather)
    wrong, _ = run(comm, tmp_path, "--op", "all_gather", "-e", "8", "--algorithms", "wrong")
    everywhere(comm, wrong == 1, wrong)


class Wrong(Ring):
    """Ring with one wrong element on the last rank, from the second call on."""

    def __init__(self, comm: MPI.Intracomm, *rest: Any) -> None:
        super().__init__(comm, *rest)
        self._last, self._calls = comm.rank == comm.size - 1, 0

    def __call__(self, divisor: int = 1) -> None:
        super().__call__(divisor)
        self._calls += 1
        if self._last and self._calls > 1:
            self.parts[0][-1] += 1


@on(2, 3)
@pytest.mark.parametrize("check", ["1", "0"])
def test_a_sum_wrong_after_the_first_call_is_detected(
    comm: MPI.Intracomm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check: str
) -> None:
    monkeypatch.setitem(cast(dict[str, Any], ALLREDUCES), "wrong", Wrong)
    wrong, calls = run(comm, tmp_path, "-e", "32", "--algorithms", "wrong", "-c", check)
    counts = {row.algorithm: row.wrong for row in calls.rows()} if calls else {}
    expected = {"wrong": 1, "library": 0} if check == "1" else {"wrong": -1, "library": -1}
    # one element is wrong at 8 bytes and one at 32 bytes
    everywhere(comm, wrong == (2 if check == "1" else 0), wrong)
    everywhere(comm, comm.rank > 0 or counts == expected, counts)


class Recorder(Ring):
    """Ring that records its input, and counts one more message on the last rank."""

    inputs: ClassVar[list[tuple[float, float]]] = []

    def __init__(self, comm: MPI.Intracomm, d: int, *rest: Any) -> None:
        super().__init__(comm, d, *rest)
        self._extra, self._counter = comm.rank == comm.size - 1, rest[-1]

    def __call__(self, divisor: int = 1) -> None:
        Recorder.inputs.append((float(self.parts[0].min()), float(self.parts[0].max())))
        super().__call__(divisor)
        if self._extra:
            self._counter.sent(1000)


@on(3)
def test_every_call_starts_from_a_new_vector_and_the_busiest_rank_counts(
    comm: MPI.Intracomm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(cast(dict[str, Any], ALLREDUCES), "recorder", Recorder)
    Recorder.inputs.clear()
    options = ("-b", "96", "-e", "96", "--algorithms", "recorder", "-w", "3")
    _, calls = run(comm, tmp_path, *options)
    own = comm.rank + 1
    first, *timed, last = Recorder.inputs
    everywhere(comm, first == last == (own, own + 11), first, last)
    everywhere(comm, set(timed) == {(own, own)}, timed)
    n = comm.bcast(int(calls.table["n"][0]) if calls else 0)
    everywhere(comm, len(timed) == 3 + n, len(timed), n)  # warm-up and samples
    row = calls.rows()[0] if calls else None
    sent = 2 * (comm.size - 1)
    fine = row is None or row.messages == sent + 1
    fine &= row is None or row.bytes_sent == sent * 96 // comm.size + 1000
    everywhere(comm, fine, row)


class Refusing(Ring):
    """Ring that supports no ranks."""

    def __init__(self, *arguments: Any) -> None:
        raise ValueError("refusing needs ranks it never gets: take ring")


@on(3)
def test_an_unsupported_candidate_is_skipped_unless_requested(
    comm: MPI.Intracomm,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    registry = cast(dict[str, Any], ALLREDUCES)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in set(registry) - {"ring", "library", "auto"}:
        monkeypatch.delitem(registry, name)
    pair = {name: registry[name] for name in ("ring", "library")}
    monkeypatch.setattr(Auto, "candidates", pair)
    monkeypatch.setitem(registry, "refusing", Refusing)
    _, calls = run(comm, tmp_path, "-e", "8")
    out = capfd.readouterr().out
    fine = True
    if calls:
        fine = set(calls.table["algorithm"]) == {"ring", "library", "auto"}
        fine &= "# note: refusing is left out: refusing needs ranks it never gets" in out
        (choice,) = set(calls.table["chosen"].tolist()) - {""}
        fine &= choice in ("ring", "library") and f"# auto took {choice} at 8\n" in out
    everywhere(comm, fine, out)
    line = refusal(comm, tmp_path, "--algorithms", "ring,refusing", "--name", "other")
    everywhere(comm, line.startswith("refusing: refusing needs ranks it never gets"), line)
    everywhere(comm, not list(tmp_path.glob("other*")))


@on(2)
def test_nccl_columns_are_measured_in_place_and_out_of_place(
    comm: MPI.Intracomm, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = ("ring", "shared_memory")
    options = ("-b", "96", "-e", "96", "--algorithms", ",".join(names), "--compat", "nccl")
    wrong, calls = run(comm, tmp_path, *options)
    out = capfd.readouterr().out
    fine = wrong == 0
    if calls:
        rows = {row.algorithm: row for row in calls.rows()}
        twins = {name: f"{name}:out_of_place" for name in names}
        fine &= set(rows) == {*names, *twins.values(), "library"}
        fine &= all(row.wrong == 0 for row in rows.values())
        for name, twin in twins.items():
            fine &= rows[name].messages == rows[twin].messages
            table = re.search(rf"{name}, 2 ranks\n(?:#.*\n)*(.*)", out)
            cells = table[1].split() if table else ["0"] * 13
            spans = [calls.span(list(rows).index(x)) for x in (twin, name)]
            means = [calls.duration_ns[span].mean() / 1e3 for span in spans]
            fine &= [float(cells[5]), float(cells[9])] == pytest.approx(means, rel=0.01)
    everywhere(comm, fine, out)


@on(2)
def test_candidates_alternate_in_random_order(comm: MPI.Intracomm, tmp_path: Path) -> None:
    options = ("-e", "8", "--algorithms", "ring,recursive_doubling", "-n", "30", "--time", "5")
    _, calls = run(comm, tmp_path, *options)
    fine = True
    if calls:
        starts = np.array([calls.start_ns[calls.span(i), 0] for i in range(3)])
        n = starts.shape[1]
        ends = starts + [calls.duration_ns[calls.span(i), 0] for i in range(3)]
        fine = n >= 30 and len(set(calls.table["n"])) == 1
        fine &= bool((starts.min(0)[1:] > ends.max(0)[:-1]).all())  # rounds do not overlap
        orders = {tuple(starts[:, k].argsort().tolist()) for k in range(n)}
        fine &= len(orders) > 3  # of 6
    everywhere(comm, fine)


@on(2, 4)
def test_memory_is_checked_on_all_ranks_before_the_result_is_created(
    comm: MPI.Intracomm, tmp_path: Path
) -> None:
    line = refusal(comm, tmp_path, "-e", "100000G", "--algorithms", "ring")
    everywhere(comm, "with 2 algorithms at" in line and ": give -e " in line, line)
    everywhere(comm, not list(tmp_path.iterdir()))


@on(2, 3, 4)
def test_shared_memory_is_checked_for_algorithms_with_windows(
    comm: MPI.Intracomm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # many containers limit shared memory to 64 MiB
    monkeypatch.setattr(memory, "free_bytes", lambda folder: 64 * 2**20)
    line = refusal(comm, tmp_path, "-e", "64M", "--algorithms", "ring,shared_memory")
    fits = {2: "28M", 3: "19M", 4: "14M"}[comm.size]
    everywhere(comm, "into the shared memory (/dev/shm) of" in line and f"-e {fits}" in line, line)
    memory.check_memory(comm, 64 * 2**20, ["ring", "library"])


def test_clock_offsets_are_zero_within_a_host(comm: MPI.Intracomm) -> None:
    same = clock_offsets(comm, ["here"] * comm.size)
    everywhere(comm, not np.any(same))
    hosts = ["here", "there", "yonder", "there"][: comm.size]
    offset, trip = clock_offsets(comm, hosts)
    # all ranks share a clock: the error is at most half the round trip
    everywhere(comm, (np.abs(offset) <= trip / 2 + 1).all(), offset, trip)
    everywhere(comm, [x > 0 for x in trip] == [host != "here" for host in hosts], trip)
    if comm.size == 4:
        everywhere(comm, trip[1] == trip[3])
    everywhere(comm, comm.allgather(offset.tolist()) == [offset.tolist()] * comm.size)


def test_the_lead_of_a_clock_is_measured(
    comm: MPI.Intracomm, monkeypatch: pytest.MonkeyPatch
) -> None:
    lead = 10**12 * comm.rank
    monkeypatch.setattr(clocks, "perf_counter_ns", lambda: perf_counter_ns() + lead)
    offset, trip = clock_offsets(comm, [f"host{rank}" for rank in range(comm.size)])
    truth = 10**12 * np.arange(comm.size)
    everywhere(comm, (np.abs(offset - truth) <= trip / 2 + 1).all(), offset, trip)


@on(2, 4)
def test_links_are_the_same_on_every_rank(comm: MPI.Intracomm) -> None:
    links = measure_links(comm, ["here"] * comm.size)
    figures = (links.alpha_ns, links.bandwidth, links.memory, links.timer_ns)
    everywhere(comm, min(figures) > 0, figures)
    everywhere(comm, comm.allgather(figures) == [figures] * comm.size)
