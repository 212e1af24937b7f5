"""Test of --trace in a real run: the events add up to the steps, and the trace draws them."""

import json
from pathlib import Path

import h5py
import numpy as np

from algorithms.wire.meter import PHASES, RECEIVED, SENT
from bench.results import events
from bench.trace import __main__ as trace
from tests.bench.test_trace import assert_nested, flows
from tests.launching import train

STEPS, TRACED_STEPS = 12, range(4, 9)


def test_the_events_of_a_traced_run_add_up_to_its_steps(tmp_path: Path) -> None:
    options = ["--task", "quadratic", "--algorithm", "push_sum", "--workers", "5"]
    options += ["--steps", str(STEPS), "--warmup", str(TRACED_STEPS.start), "--eval-every", "6"]
    done = train(2, tmp_path, *options, "--name", "run", "--trace", str(len(TRACED_STEPS)))
    assert done.returncode == 0, done.stderr
    path = tmp_path / "run.h5"
    columns = events.read(path)
    assert set(columns["step"].tolist()) == set(TRACED_STEPS)
    with h5py.File(path) as file:
        train_ = {
            name: file["train"][name][TRACED_STEPS.start : TRACED_STEPS.stop]
            for name in file["train"]
        }
    at = (columns["step"] - TRACED_STEPS.start, columns["rank"])
    durations = np.zeros((len(TRACED_STEPS), 2, len(PHASES) + 2), np.int64)
    np.add.at(durations, (*at, columns["kind"]), columns["duration_ns"])
    assert (durations[:, :, : len(PHASES)] == train_["phase_ns"]).all()
    sent, received = (columns["kind"] == kind for kind in (SENT, RECEIVED))
    for name, each in (
        ("messages", np.ones_like(columns["bytes"])),
        ("bytes_sent", columns["bytes"]),
    ):
        totals = np.zeros((len(TRACED_STEPS), 2), np.int64)
        np.add.at(totals, (at[0][sent], at[1][sent]), each[sent])
        assert (totals == train_[name]).all(), name
    assert train_["messages"].sum() > 0
    ends = [
        sorted(zip(*(columns[x][mask].tolist() for x in order), strict=True))
        for mask, order in (
            (sent, ("rank", "peer", "bytes", "number")),
            (received, ("peer", "rank", "bytes", "number")),
        )
    ]
    assert ends[0] == ends[1]

    target = tmp_path / "trace.json"
    assert trace.main([str(path), "-o", str(target)]) == 0
    trace_events = json.loads(target.read_text())["traceEvents"]
    assert_nested(trace_events)
    assert len(flows(trace_events)) == len(ends[0]), "one clock: every message has an arrow"
