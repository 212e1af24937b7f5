"""Tests of bench.trace: drawings of files with chosen numbers."""

import gzip
import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from algorithms.wire.meter import (
    BACKWARD_PASS,
    BUBBLE_SPAN,
    COPY,
    FORWARD_PASS,
    PHASES,
    PLAN,
    RECEIVED,
    SENT,
    WAIT,
)
from bench.results import events
from bench.results.clocks import append_clocks
from bench.trace import __main__ as trace
from bench.trace.chrome import select_numbers
from tests.bench.made_measurements import make_calls, make_rounds
from tests.bench.made_runs import make

Capture = pytest.CaptureFixture[str]
Event = dict[str, Any]
RANK_0 = 100
"""Process id of rank 0."""
STEP_NS, SETTLE_NS = 2_000_000, 50_000
"""Duration of a step of rank 1 in tests.bench.made_runs, and the pause before the next step."""
LEAD_NS, DRIFT, START_NS = 7_000_000_000_123, 2e-4, 10**12
"""Lead of rank 1's clock over rank 0's at START_NS, and its relative drift."""


def clock_1(true_ns: Any) -> Any:
    """Return the time of rank 1's clock for a time of rank 0's, ns."""
    return true_ns + LEAD_NS + np.rint(DRIFT * (true_ns - START_NS)).astype(np.int64)


def make_aligned(path: Path, *, far: bool = False, clock: bool = True, **options: Any) -> Path:
    """Write a run with steps that begin together on all ranks; far: rank 1 is on another host."""
    make(path, **options)
    with h5py.File(path, "r+") as file:
        start = file["train/start_ns"]
        true = START_NS + np.arange(len(start), dtype=np.int64) * (STEP_NS + SETTLE_NS)
        start[:] = np.stack([true, clock_1(true) if far else true], axis=1)
        if far:
            file["provenance/ranks/host"][1] = b"node2"
        if far and clock:
            for at in (START_NS - 10**9, START_NS + 10**9):
                local = np.array([at, clock_1(np.int64(at))])
                lead = local - at
                reading = {"read_ns": local, "offset_ns": lead, "round_trip_ns": [0, 3000]}
                append_clocks(file, {x: np.array(y, np.int64) for x, y in reading.items()})
    return path


def draw_file(path: Path, *options: str) -> list[Event]:
    """Draw a file; return the events of the trace."""
    target = path.with_name(path.name + ".json")
    assert trace.main([str(path), "-o", str(target), *options]) == 0
    trace_ = json.loads(target.read_text(), parse_constant=pytest.fail)
    assert set(trace_) == {"displayTimeUnit", "otherData", "traceEvents"}
    assert all(isinstance(x, str) for x in trace_["otherData"].values())
    events_: list[Event] = trace_["traceEvents"]
    assert all({"ph", "pid", "name"} <= set(x) for x in events_)
    return events_


def slices(events_: list[Event], category: str) -> list[tuple[int, str, int, int]]:
    """Return rank, name, begin and end of the duration events of a category, ns."""
    return [
        (x["pid"] - RANK_0, x["name"], round(x["ts"] * 1e3), round((x["ts"] + x["dur"]) * 1e3))
        for x in events_
        if x["ph"] == "X" and x["cat"] == category
    ]


def assert_nested(events_: list[Event]) -> None:
    """Assert that the duration events of a thread are nested or disjoint."""
    threads = defaultdict(list)
    for x in events_:
        if x["ph"] == "X":
            begin = round(x["ts"] * 1e3)
            threads[x["pid"], x["tid"]].append((begin, -round(x["dur"] * 1e3)))
    for spans in threads.values():
        open_until: list[int] = []
        for begin, minus in sorted(spans):
            while open_until and open_until[-1] <= begin:
                open_until.pop()
            assert not open_until or begin - minus <= open_until[-1]
            open_until.append(begin - minus)


def flows(events_: list[Event]) -> list[tuple[Event, Event]]:
    """Return the duration events at the start and at the finish of each arrow, as Perfetto binds.

    Trace processor sorts events by time, equal times in the order of the file, and binds an end of
    an arrow to the innermost duration event of its thread; it drops an end without one, and
    reverses an arrow whose finish begins before its start. `bp: e` binds a finish like a start.
    """
    open_: dict[tuple[int, int], list[Event]] = defaultdict(list)
    ends: dict[int, dict[str, Event]] = defaultdict(dict)
    named = {(x["pid"], x.get("tid")) for x in events_ if x["ph"] == "M"}
    for x in sorted((x for x in events_ if x["ph"] in "Xsf"), key=lambda x: float(x["ts"])):
        thread = x["pid"], x["tid"]
        assert {thread, (x["pid"], None)} <= named, "processes and threads have names"
        stack = open_[thread]
        while stack and not _encloses(stack[-1], x):
            stack.pop()
        if x["ph"] == "X":
            stack.append(x)
            continue
        assert stack, f"an arrow has no event at {x}"
        assert x["ph"] not in ends[x["id"]], "an id has one start and one finish"
        assert x.get("bp", "") == ("e" if x["ph"] == "f" else "")
        ends[x["id"]][x["ph"]] = stack[-1]
    assert all(len(x) == 2 for x in ends.values())
    pairs = [(x["s"], x["f"]) for x in ends.values()]
    assert all(start["ts"] <= finish["ts"] for start, finish in pairs), "reversed by Perfetto"
    return pairs


def _encloses(slice_: Event, x: Event) -> bool:
    """Report whether a duration event is open at the time of a later event, to a nanosecond."""
    end, at = (round(1e3 * ts) for ts in (slice_["ts"] + slice_["dur"], x["ts"]))
    return bool(at < end or (x["ph"] != "X" and at == end))


def test_the_phases_of_a_step_fill_it(tmp_path: Path, capsys: Capture) -> None:
    events_ = draw_file(make_aligned(tmp_path / "a.h5"))
    steps, phases = slices(events_, "step"), slices(events_, "sum")
    assert len(steps) == 40
    assert_nested(events_)
    for rank, _, begin, end in steps:
        inside = [x for x in phases if x[0] == rank and begin <= x[2] < end]
        assert [x[1] for x in inside] == list(PHASES)
        assert sum(x[3] - x[2] for x in inside) == end - begin
        assert abs(end - begin - STEP_NS // (2 - rank)) <= len(PHASES)
    names = {x["args"]["name"] for x in events_ if x["name"] == "process_name"}
    assert names == {"rank 0 on node1", "rank 1 on node1", "all ranks"}
    out = capsys.readouterr().out.splitlines()
    assert "are sums" in out[0]
    assert "2 of 2 ranks, 20 of 20 steps" in out[-2]
    assert "0.0409 s" in out[-2]
    assert "ui.perfetto.dev" in out[-1]
    first = next(x for x in events_ if x["name"] == "step 0")
    assert first["args"] == {"warm-up": True, "first after an evaluation or a flush": True}
    sent = [x for x in events_ if x["ph"] == "C" and x["name"] == "sent"]
    assert [x["args"] for x in sent] == [{"B": 100}] * 2, "a counter has an event per change"


def test_evaluations_are_at_the_end_of_the_steps_before_them(tmp_path: Path) -> None:
    path = make_aligned(tmp_path / "a.h5")
    with h5py.File(path, "r+") as file:  # one segment of 12 rows for 5 steps, then one of 8
        for name in file["segments"]:
            file["segments"][name].resize(2, axis=0)
        file["segments/first"][:], file["segments/steps"][:] = [0, 5], [12, 8]
        file["train/start_ns"][7:12, 1] = -1
        file["eval/loss"][2] = np.nan
    events_ = draw_file(path)
    marks = [x for x in events_ if x["ph"] == "i"]
    ends = [0, 12, 20, 20, 20]
    begins = [row * (STEP_NS + SETTLE_NS) for row in ends]
    ranks = [0, 0, 1, 1, 1]  # in row 11 only rank 0 took a step
    expected = [
        at and at - SETTLE_NS - (1 - r) * STEP_NS // 2 for at, r in zip(begins, ranks, strict=True)
    ]
    assert np.abs(np.array([x["ts"] * 1e3 for x in marks]) - expected).max() <= len(PHASES)
    assert [x["args"]["step"] for x in marks] == [0, 5, 10, 15, 20]
    assert ["loss" in x["args"] for x in marks] == [True, True, False, True, True]
    steps = Counter(rank for rank, *_ in slices(events_, "step"))
    assert steps == {0: 20, 1: 15}, "missing steps are not drawn"
    assert len([x for x in draw_file(path, "--steps", "0:12") if x["ph"] == "i"]) == 2


def test_clocks_of_other_hosts_are_aligned_to_the_ns(tmp_path: Path, capsys: Capture) -> None:
    steps = slices(draw_file(make_aligned(tmp_path / "a.h5", far=True)), "step")
    begins = np.array([[x[2] for x in steps if x[0] == rank] for rank in (0, 1)])
    true = np.arange(20) * (STEP_NS + SETTLE_NS)
    assert (begins[0] == true).all()
    assert np.abs(begins[1] - true).max() <= 1
    lasted = {end - begin for rank, _, begin, end in steps if rank == 1}
    fine = {round(STEP_NS // 6 * 6 / (1 + DRIFT)) + slip for slip in (-1, 0, 1)}
    assert lasted <= fine
    assert "at most 1.5 us" in capsys.readouterr().out


def test_a_note_names_clocks_without_a_measurement(tmp_path: Path, capsys: Capture) -> None:
    events_ = draw_file(make_aligned(tmp_path / "a.h5", far=True, clock=False))
    assert "clock of node2 was not measured" in capsys.readouterr().out
    names = [x["args"]["name"] for x in events_ if x["name"] == "process_name"]
    assert "rank 1 on node2 (clock not aligned)" in names
    assert {x[2] for x in slices(events_, "step") if x[1] == "step 0"} == {0}


def make_traced(path: Path) -> Path:
    """Write a run with events of step 3: rank 1 sends to rank 0; one message comes too early."""
    with h5py.File(make_aligned(path), "r+") as file:
        begins, spent = file["train/start_ns"][3, 0], file["train/phase_ns"][3].sum(1)
        third = spent // 4
        for rank in (0, 1):
            laps = [(COPY, 0, third[rank]), (WAIT, third[rank], spent[rank])]
            rows = [(0, kind, begins + a, b - a, 0, -1, -1) for kind, a, b in laps]
            if rank == 1:
                rows += [(0, SENT, begins + third[0], 100, 64, 0, number) for number in (5, 6)]
                rows.append((0, SENT, begins + third[0] + 200, 100, 8, -1, -1))
            else:
                arrived = (begins + spent[0], begins + third[0] - 1, begins + spent[0])
                rows += [
                    (0, RECEIVED, at, 0, 64, 1, number)
                    for at, number in zip(arrived, (5, 6, 9), strict=True)
                ]
            rows.append((-1, WAIT, begins, 5, 0, -1, -1))
            columns = events.pack(np.array(rows).tolist(), rank)
            events.append(file, columns | {"step": columns["step"] + 3})
    return path


def test_steps_with_events_are_drawn_from_them(tmp_path: Path, capsys: Capture) -> None:
    path = make_traced(tmp_path / "a.h5")
    events_ = draw_file(path)
    assert_nested(events_)
    out = capsys.readouterr().out
    assert "phases and messages of step 3 are" in out
    spans = slices(events_, "span")
    assert [(x[0], x[1]) for x in spans] == [(0, "copy"), (0, "wait"), (1, "copy"), (1, "wait")]
    for rank, _, begin, end in (x for x in slices(events_, "step") if x[1] == "step 3"):
        assert sum(x[3] - x[2] for x in spans if x[0] == rank) == end - begin
        assert not [x for x in slices(events_, "sum") if x[0] == rank and begin <= x[2] < end]
    names = [x["name"] for x in events_ if x.get("cat") == "message" and x["ph"] == "X"]
    assert Counter(names) == {"message from 1": 3, "message to 0": 2, "message sent": 1}


def test_arrows_lead_from_the_send_to_the_receive(tmp_path: Path, capsys: Capture) -> None:
    path = make_traced(tmp_path / "a.h5")
    events_ = draw_file(path)
    assert "1 of 2 messages have no arrow" in capsys.readouterr().out
    ((start, finish),) = flows(events_)  # number 9 has no other end
    assert (start["pid"] - RANK_0, start["name"]) == (1, "message to 0")
    assert (finish["pid"] - RANK_0, finish["name"]) == (0, "message from 1")
    assert start["args"] == finish["args"] == {"bytes": 64}
    head = next(x for x in events_ if x["ph"] == "f")
    assert [x[3] for x in slices(events_, "span") if x[:2] == (0, "wait")] == [head["ts"] * 1e3]
    assert not [x for x in draw_file(path, "--ranks", "0") if x["ph"] in "sf"]


def test_events_are_read_back(tmp_path: Path) -> None:
    path = make_traced(tmp_path / "a.h5")
    whole = events.read(path)
    assert len(whole["rank"]) == 10
    assert set(whole["step"].tolist()) == {3}
    some = events.read(path, ranks=np.array([1]))
    assert all((some[x] == whole[x][whole["rank"] == 1]).all() for x in events.EVENTS)
    assert not len(events.read(path, steps=np.array([2]))["rank"])
    assert not len(events.read(make(tmp_path / "b.h5"))["rank"])
    with h5py.File(path) as file:
        for name, (dtype, units, title) in events.EVENTS.items():
            data = file["events"][name]
            assert (data.dtype, data.attrs["units"], data.attrs["long_name"]) == (
                dtype,
                units,
                title,
            )
            assert data.dims[0]["event"] == file["events/event"]
        assert file["events/event"][:].tolist() == list(range(10))


def test_a_selection_is_drawn_at_its_place_in_the_whole(tmp_path: Path) -> None:
    path = make_aligned(tmp_path / "a.h5")
    whole = slices(draw_file(path), "step")
    part = slices(draw_file(path, "--steps", "5:8", "--ranks", "1"), "step")
    assert part == [x for x in whole if x[0] == 1 and x[1] in ("step 5", "step 6", "step 7")]


def test_the_calls_of_collectives(tmp_path: Path) -> None:
    path = make_calls(
        tmp_path / "c.h5", {4096: {"ring": 10.0, "auto": 20.0}}, chosen={"auto": "star"}
    )
    with h5py.File(path, "r+") as file:
        begins = START_NS + np.arange(40) * 100_000
        file["calls/start_ns"][:] = np.stack([begins, begins + LEAD_NS], axis=1)
        file["clock/offset_ns"][1] = LEAD_NS
        took = file["calls/duration_ns"][:]
    events_ = draw_file(path)
    assert_nested(events_)
    calls = slices(events_, "allreduce")
    for rank in (0, 1):
        own = [x for x in calls if x[0] == rank]
        assert [x[1] for x in own] == ["ring 4KB"] * 20 + ["auto 4KB"] * 20
        assert [x[2] for x in own] == (np.arange(40) * 100_000).tolist()
        assert [x[3] - x[2] for x in own] == took[:, rank].tolist()
    assert events_[-1]["args"] == {"call": 39, "chosen": "star"}
    assert len(slices(draw_file(path, "--steps", "7,9"), "allreduce")) == 4


def test_a_gzip_trace_has_the_same_content(tmp_path: Path) -> None:
    path = make_aligned(tmp_path / "a.h5")
    for name in ("t.json", "t.json.gz"):
        assert trace.main([str(path), "-o", str(tmp_path / name)]) == 0
    small = (tmp_path / "t.json.gz").read_bytes()
    assert gzip.decompress(small) == (tmp_path / "t.json").read_bytes()
    assert len(small) < (tmp_path / "t.json").stat().st_size / 3
    assert sorted(x.name for x in tmp_path.iterdir()) == ["a.h5", "t.json", "t.json.gz"]


def test_too_large_traces_are_refused_with_their_size(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, target = make_aligned(tmp_path / "a.h5", steps=500), tmp_path / "t.json"
    about = trace.draw_file(path, None, None).nbytes
    assert trace.main([str(path), "-o", str(target)]) == 0
    assert 0.5 < about / target.stat().st_size < 2
    target.unlink()
    monkeypatch.setattr(trace, "MOST_BYTES", about - 1)
    assert trace.main([str(path), "-o", str(target)]) == 2
    error = capsys.readouterr().err
    assert "2 of 2 ranks, 500 of 500 steps" in error
    assert "--steps A:B" in error
    assert not target.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "t.txt"], "must end in .json or .json.gz"),
        (["-o", "no/t.json"], "there is no folder"),
        ([], "required: -o/--out"),
        (["-o", "t.json", "--steps", "20:"], "'20:' names none, there are steps 0 to 19"),
        (["-o", "t.json", "--steps", "a:b"], "neither a number nor a range"),
        (["-o", "t.json", "--ranks", "0,2"], "'2' names none, there are ranks 0 to 1"),
        (["-o", "t.json", "--ranks", ""], "neither a number nor a range"),
    ],
)
def test_user_errors_are_one_line(
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert trace.main([str(make_aligned(tmp_path / "a.h5")), *options]) == 2
    out, error = capsys.readouterr()
    assert (out, error.count("\n"), error[:7]) == ("", 1, "error: ")
    assert message in error
    assert [x.name for x in tmp_path.iterdir()] == ["a.h5"]


def test_errors_of_files_are_one_line(tmp_path: Path, capsys: Capture) -> None:
    broken = ("train/loss", "provenance/ranks/host", "clock")
    files = [tmp_path / "none.h5", tmp_path, make_rounds(tmp_path / "r.h5", {"ring": 0.5})]
    for i, part in enumerate(broken):
        files.append(make_aligned(tmp_path / f"{i}.h5", far=True))
        with h5py.File(files[-1], "r+") as file:
            del file[part]
            if part == "clock":
                file["clock/offset_ns"] = np.zeros((2, 3), np.int64)
            elif part == "train/loss":
                file[part] = np.zeros((3, 2))
    files.append(make(tmp_path / "empty.h5", steps=0))
    (tmp_path / "text.h5").write_text("no HDF5")
    files.append(tmp_path / "text.h5")
    for path in files:
        assert trace.main([str(path), "-o", str(tmp_path / "t.json")]) == 2, path
        error = capsys.readouterr().err
        assert (error.count("\n"), error[:7]) == (1, "error: "), error
        assert str(path) in error
    assert not (tmp_path / "t.json").exists()


def test_numbers_and_ranges() -> None:
    assert select_numbers("--ranks", None, 3, "ranks").tolist() == [0, 1, 2]
    assert select_numbers("--ranks", "5, 0:2,1", 8, "ranks").tolist() == [0, 1, 5]
    assert select_numbers("--ranks", "6:99", 8, "ranks").tolist() == [6, 7]
    assert select_numbers("--ranks", ":2", 8, "ranks").tolist() == [0, 1]
    assert select_numbers("--ranks", ":", 2, "ranks").tolist() == [0, 1]


def test_help_needs_no_heavy_module() -> None:
    code = (
        "import sys; from bench.trace.__main__ import parser; parser().format_help();"
        "print([m for m in ('torch', 'mpi4py.MPI', 'h5py', 'pandas', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_passes_of_pipelines_have_arrows_from_sender_to_receiver(tmp_path: Path) -> None:
    path = make_aligned(tmp_path / "a.h5")
    ms = 100_000
    passes = [  # rank, kind, start, duration, stage, micro-batch
        *((0, FORWARD_PASS, i * ms, ms, 0, i) for i in range(2)),
        *((1, BUBBLE_SPAN, 0, ms + 10, -1, -1), (1, FORWARD_PASS, ms + 10, ms, 1, 0)),
        *((1, BACKWARD_PASS, 2 * ms + 10, ms, 1, 0), (0, BUBBLE_SPAN, 2 * ms, ms + 20, -1, -1)),
        (0, BACKWARD_PASS, 3 * ms + 20, ms, 0, 0),
    ]
    messages = [  # sent inside F0 of rank 0 and B0 of rank 1; received at the begin of the same
        *((0, SENT, ms - 5, 1, 2 * PLAN), (1, RECEIVED, ms + 10, 0, 2 * PLAN)),
        *((1, SENT, 3 * ms, 0, PLAN), (0, RECEIVED, 3 * ms + 20, 1, PLAN)),
    ]
    rows = [(r, 3, kind, at, ns, 0, peer, n) for r, kind, at, ns, peer, n in passes]
    rows += [(r, 3, kind, at, 0, 64, peer, n) for r, kind, at, peer, n in messages]
    with h5py.File(path, "r+") as file:
        start = file["train/start_ns"][3]
        table = np.array(rows, np.int64).T
        columns = dict(zip(events.EVENTS, table, strict=True))
        columns["start_ns"] += start[columns["rank"]]
        events.append(file, columns)
    drawn = draw_file(path)
    assert_nested(drawn)
    passes_drawn = {(x[0], x[1]) for x in slices(drawn, "pass")}
    assert passes_drawn == {(0, "F0"), (0, "F1"), (1, "F0"), (1, "B0"), (0, "B0")}
    arrows = {tuple((x["pid"] - RANK_0, x["name"]) for x in pair) for pair in flows(drawn)}
    assert arrows == {((0, "F0"), (1, "F0")), ((1, "B0"), (0, "B0"))}
