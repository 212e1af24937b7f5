"""Result files of bench.collectives: round trip, derived numbers, flags, broken files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

from bench.results.calls import ROWS, UNSTEADY, Calls, CallsFile, read_calls
from bench.results.reader import BrokenFileError
from bench.results.resultfile import part_of
from bench.results.schema import COMPLETE
from tests.bench.made_runs import make

RANKS = 4
ATTRIBUTES = {
    "ranks": RANKS,
    "alpha_ns": 1000.0,
    "bandwidth_Bps": 2e9,
    "timer_ns": 50.0,
    "binding_flaws": "",
}
NO_LEAD = np.zeros(RANKS, np.int64)


def table(*names: str, nbytes: int = 4096, n: int = 100, **more: Any) -> dict[str, NDArray[Any]]:
    """Return rows of algorithms at one size, with n calls each."""
    same = {"op": "allreduce", "dtype": "float32", "chosen": "", "count": nbytes // 4}
    same |= {"bytes": nbytes, "wrong": 0, "warmup": 5, "converged": 1, "messages": 6}
    same |= {"bytes_sent": 6144, "n": n} | more
    columns = {name: np.array([value] * len(names)) for name, value in same.items()}
    return columns | {"algorithm": np.array(names), "first": np.arange(len(names)) * n}


def calls(rows: dict[str, NDArray[Any]], duration: Any, start: Any = 0, **more: Any) -> Calls:
    """Return calls with start and duration in ns, broadcast to (calls, ranks)."""
    shape = (int(rows["n"].sum()), RANKS)
    starts, durations = (
        np.broadcast_to(np.asarray(x, np.int64), shape).copy() for x in (start, duration)
    )
    return Calls(Path("x.h5"), ATTRIBUTES | more, rows, starts, durations, NO_LEAD)


def test_a_file_reads_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    lead, trip = np.array([0, 5, -7, 9]), np.array([0, 2, 2, 2])
    file = CallsFile(path, ATTRIBUTES, lead, trip)
    rng = np.random.default_rng(0)
    parts = []
    for nbytes in (8, 4096):
        rows = table("ring", "auto", "library", nbytes=nbytes, n=10, chosen="größte")
        part = calls(rows, rng.integers(1, 10**6, (30, RANKS)), rng.integers(0, 2**60, (30, RANKS)))
        file.append(part)
        parts.append(part)
        assert len(read_calls(part_of(path)).table["n"]) == 3 * len(parts), "written at once"
    file.close(COMPLETE, {})
    assert not part_of(path).exists()
    read = read_calls(path)
    assert read.attributes["status"] == COMPLETE
    assert read.table["algorithm"].tolist() == ["ring", "auto", "library"] * 2
    assert read.table["chosen"].tolist() == ["größte"] * 6
    assert read.table["first"].tolist() == [0, 10, 20, 30, 40, 50]
    assert read.offset_ns.tolist() == lead.tolist()
    for name in ("start_ns", "duration_ns"):
        expected = np.concatenate([getattr(part, name) for part in parts])
        assert np.array_equal(getattr(read, name), expected)
    expected_rows = [row for part in parts for row in part.rows()]
    assert [replace(row, flags="") for row in read.rows()] == [
        replace(x, flags="") for x in expected_rows
    ]
    with h5py.File(path) as data:
        assert data["calls/row"][()].tolist() == np.repeat(np.arange(6), 10).tolist()
        assert data["calls/duration_ns"].compression == "gzip"
        assert data["calls/duration_ns"].shuffle
        for group in ("rows", "calls", "clock"):
            for name, dataset in data[group].items():
                numeric = dataset.dtype.kind in "iuf"
                assert "units" in dataset.attrs or not numeric, f"{group}/{name}"
        assert set(data["rows"]) == {"row", *ROWS}


def test_times_are_those_of_the_slowest_rank() -> None:
    slowest = np.arange(1, 101) * 1000  # 1 to 100 us on rank 2
    duration = np.full((100, RANKS), 10)
    duration[:, 2] = slowest
    (row,) = calls(table("library"), duration).rows()
    assert row.p50_us == 50.5
    assert (row.ci_lo_us, row.ci_hi_us) == (40, 61)  # Hoefler, Belli: ranks 40 and 61
    assert (row.p99_us, row.max_us) == (99, 100)
    assert row.algbw_GBps == pytest.approx(4096 / 50.5e-6 / 1e9)
    assert row.busbw_GBps == pytest.approx(row.algbw_GBps * 2 * 3 / 4)


@pytest.mark.parametrize(
    ("nbytes", "bound_ns"),
    [(8, 2 * 1000), (2**20, 2 * 3 / 4 * 2**20 / 2)],  # ceil(log2 4) alpha; 2(p-1)/p S/B
)
def test_the_bound_is_the_larger_of_latency_and_bandwidth(nbytes: int, bound_ns: float) -> None:
    (row,) = calls(table("ring", nbytes=nbytes), 10_000_000).rows()
    assert row.bound_percent == pytest.approx(100 * bound_ns / 1e7)


@pytest.mark.parametrize(
    ("nbytes", "term"), [(8, "alpha_spread"), (2**20, "bandwidth_spread")], ids=["alpha", "B"]
)
def test_an_unsteady_link_gives_no_bound(nbytes: int, term: str) -> None:
    def bound(**spreads: float) -> tuple[float, str]:
        (row,) = calls(table("ring", nbytes=nbytes), 10_000_000, **spreads).rows()
        return row.bound_percent, row.flags

    assert bound()[1] == "", "files without a spread"
    assert bound(alpha_spread=UNSTEADY, bandwidth_spread=UNSTEADY) == bound()
    other = {"alpha_spread", "bandwidth_spread"} - {term}
    assert bound(**dict.fromkeys(other, 9.0)) == bound(), "the other term decides"
    percent, flags = bound(**{term: UNSTEADY + 0.01})
    assert np.isnan(percent)
    assert flags == "b"


@pytest.mark.parametrize(
    ("algorithm", "messages", "ratio"), [("ring", 6, 3), ("shared_memory", 0, 10)]
)
def test_a_disproved_bound_is_unknown_in_all_rows_of_the_size(
    algorithm: str, messages: int, ratio: int
) -> None:
    def flags(p50_ns: int) -> list[str]:
        rows = table(algorithm, "library", nbytes=8, n=6, messages=messages)
        data = calls(rows, np.repeat([p50_ns, 50_000], 6)[:, None], alpha_ns=30_000.0, timer_ns=1)
        for row in data.rows():
            assert np.isnan(row.bound_us) == np.isnan(row.bound_percent) == ("b" in row.flags)
            assert not row.bound_percent > 1000
        return [row.flags for row in data.rows()]

    bound_ns = 2 * 30_000
    assert flags(bound_ns // ratio) == ["", ""]
    assert flags(bound_ns // ratio - 10) == ["b", "b"]


@pytest.mark.parametrize(("ranks", "rounds"), [(2, 1), (3, 2), (4, 2), (5, 3), (8, 3), (9, 4)])
def test_the_latency_bound_counts_rounds(ranks: int, rounds: int) -> None:
    data = calls(table("ring"), 1, ranks=ranks, bandwidth_Bps=1e18)
    assert data.bound_ns("allreduce", 8) == rounds * 1000
    assert data.bound_ns("all_to_all", 8) == rounds * 1000


@pytest.mark.parametrize(
    ("op", "factor"),
    [("reduce_scatter", 3 / 4), ("all_gather", 3 / 4), ("broadcast", 1), ("all_to_all", 3 / 4)],
)
def test_bandwidths_and_bounds_of_other_operations(op: str, factor: float) -> None:
    rows = table("ring", nbytes=2**20)
    rows["op"] = np.array([op])
    (row,) = calls(rows, 10_000_000).rows()
    assert row.op == op
    assert row.busbw_GBps == pytest.approx(row.algbw_GBps * factor)
    assert row.bound_us == pytest.approx(factor * 2**20 / 2 / 1e3)


def test_the_ratio_compares_with_the_library_at_the_same_size() -> None:
    both = [table("ring", "library", nbytes=nbytes, n=2) for nbytes in (8, 64)]
    rows = {name: np.concatenate([one[name] for one in both]) for name in both[0]}
    rows["first"] = np.arange(4) * 2
    durations = np.repeat([300, 100, 500, 1000], 2)[:, None]
    data = calls(rows, durations).rows()
    assert [row.vs_library for row in data] == pytest.approx([3, 1, 0.5, 1])
    (alone,) = calls(table("ring"), 5).rows()
    assert np.isnan(alone.vs_library)


def flags(duration: int, start: Any = 0, lead: Any = 0, converged: int = 1, **more: Any) -> str:
    """Return the flags of a row of one call."""
    data = calls(table("ring", converged=converged), duration, start, **more)
    offset = np.broadcast_to(np.asarray(lead), (RANKS,))
    (row,) = Calls(
        data.path, data.attributes, data.table, data.start_ns, data.duration_ns, offset
    ).rows()
    return str(row.flags)


def test_flags_mark_their_thresholds() -> None:
    assert flags(10_000) == ""
    assert flags(10_000, converged=0) == "!"
    assert flags(10_000, start=[0, 900, 500, 1000]) == ""
    assert flags(10_000, start=[0, 900, 500, 1001]) == "s"
    assert flags(10_000, start=[0, 10**9, 0, 0], lead=[0, 10**9, 0, 0]) == "", "another clock"
    assert flags(5_000) == ""
    assert flags(4_999) == "t"
    assert flags(10_000, binding_flaws="4 ranks share 2 cores") == "o"
    assert flags(100, start=[0, 0, 0, 11], converged=0, binding_flaws="x") == "!stob"


def test_broken_files_are_reported_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "x.h5"
    with pytest.raises(BrokenFileError):
        read_calls(path)
    path.write_bytes(b"no HDF5")
    with pytest.raises(BrokenFileError, match=r"x\.h5"):
        read_calls(path)
    with pytest.raises(BrokenFileError, match=r"not bench\.collectives"):
        read_calls(make(tmp_path / "train.h5"))
    file = CallsFile(path, ATTRIBUTES, NO_LEAD, NO_LEAD)
    file.append(calls(table("ring"), 5))
    file.close(COMPLETE, {})
    whole = path.read_bytes()
    changes: list[tuple[Callable[[Any], object], str]] = [
        (lambda data: data.attrs.pop("alpha_ns"), "attribute alpha_ns is missing"),
        (lambda data: data["rows"].pop("n"), "n"),
        (lambda data: data["calls/duration_ns"].resize(99, axis=0), "by its rows"),
        (lambda data: data.attrs.update(schema_version="9.0"), "schema version 9.0"),
    ]
    for change, message in changes:
        path.write_bytes(whole)
        with h5py.File(path, "r+") as data:
            change(data)
        with pytest.raises(BrokenFileError, match=message) as error:
            read_calls(path)
        assert "\n" not in str(error.value)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BrokenFileError):
        read_calls(path)
