"""A real run under mpirun, traced: its events add up to its steps, and the trace shows them."""

import json
from pathlib import Path

import h5py
import numpy as np

from algorithms.wire.meter import PHASES, RECEIVED, SENT
from bench.results import events
from bench.trace import __main__ as trace
from tests.bench.test_trace import assert_nested
from tests.launching import train

STEPS, TRACED = 12, range(4, 9)


def test_the_events_of_a_traced_run_add_up_to_its_steps(tmp_path: Path) -> None:
    options = ["--task", "quadratic", "--algorithm", "push_sum", "--workers", "5"]
    options += ["--steps", str(STEPS), "--warmup", str(TRACED.start), "--eval-every", "6"]
    done = train(2, tmp_path, *options, "--name", "run", "--trace", str(len(TRACED)))
    assert done.returncode == 0, done.stderr
    path = tmp_path / "run.h5"
    found = events.read(path)
    assert set(found["step"].tolist()) == set(TRACED)
    with h5py.File(path) as file:
        train_ = {name: file["train"][name][TRACED.start : TRACED.stop] for name in file["train"]}
    at = (found["step"] - TRACED.start, found["rank"])
    lasted = np.zeros((len(TRACED), 2, len(PHASES) + 2), np.int64)
    np.add.at(lasted, (*at, found["kind"]), found["duration_ns"])
    assert (lasted[:, :, : len(PHASES)] == train_["phase_ns"]).all()
    sent, came = (found["kind"] == kind for kind in (SENT, RECEIVED))
    for name, each in (("messages", np.ones_like(found["bytes"])), ("bytes_sent", found["bytes"])):
        counted = np.zeros((len(TRACED), 2), np.int64)
        np.add.at(counted, (at[0][sent], at[1][sent]), each[sent])
        assert (counted == train_[name]).all(), name
    assert train_["messages"].sum() > 0
    ends = [
        sorted(zip(*(found[x][kept].tolist() for x in order), strict=True))
        for kept, order in (
            (sent, ("rank", "peer", "bytes", "number")),
            (came, ("peer", "rank", "bytes", "number")),
        )
    ]
    assert ends[0] == ends[1]

    target = tmp_path / "trace.json"
    assert trace.main([str(path), "-o", str(target)]) == 0
    drawn = json.loads(target.read_text())["traceEvents"]
    assert_nested(drawn)
    heads = [x for x in drawn if x["ph"] == "f"]
    assert len(heads) == len(ends[0]), "one clock: every message has an arrow"
