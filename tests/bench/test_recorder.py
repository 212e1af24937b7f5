"""Tests of the recorder: differences of the meter's counters from step to step."""

import numpy as np
from mpi4py import MPI

from algorithms.wire.meter import DATA, OTHER, PHASES, WAIT, Meter
from bench.results.recorder import Block, Recorder


def advance(meter: Meter, sent: int, copied: int, wait: int) -> None:
    """Advance the meter by the counts of a step."""
    for _ in range(3):
        meter.sent(sent)
    meter.bytes_copied += copied
    meter.ns[WAIT] += wait
    meter.ns[DATA] += 1


def gather(recorder: Recorder) -> Block:
    block = recorder.gather(MPI.COMM_SELF)
    assert block is not None
    return block


def test_counters_become_differences_step_by_step() -> None:
    meter = Meter()
    meter.sent(1000)  # before the recorder
    meter.ns[WAIT] += 1000
    recorder = Recorder(meter)
    for step in range(4):
        advance(meter, sent=step, copied=10 * step, wait=100 * step)
        recorder.step(5000 + step, np.array([step, step + 2], np.float32))
    block = gather(recorder)
    steps = np.arange(4)
    np.testing.assert_array_equal(block.start_ns, 5000 + steps[:, None])
    np.testing.assert_array_equal(block.messages, np.full((4, 1), 3))
    np.testing.assert_array_equal(block.bytes_sent, 3 * steps[:, None])
    np.testing.assert_array_equal(block.bytes_copied, 10 * steps[:, None])
    expected = np.zeros((4, 1, len(PHASES)))
    expected[:, 0, WAIT], expected[:, 0, DATA] = 100 * steps, 1
    np.testing.assert_array_equal(block.phase_ns, expected)
    np.testing.assert_array_equal(block.loss, steps[:, None] + 1)
    assert block.loss.dtype == np.float64
    assert {x.dtype for x in (block.start_ns, block.phase_ns, block.messages)} == {np.dtype("i8")}


def test_counts_after_the_last_step_belong_to_no_step() -> None:
    meter = Meter()
    recorder = Recorder(meter)
    advance(meter, 1, 2, 3)
    recorder.step(0, np.zeros(1))
    advance(meter, 7000, 7000, 7000)  # an average after the last step, before the gather
    assert gather(recorder).bytes_sent.tolist() == [[3]]
    advance(meter, 4, 5, 6)
    recorder.step(1, np.zeros(1))
    block = gather(recorder)
    assert (block.bytes_sent.tolist(), block.bytes_copied.tolist()) == ([[12]], [[5]])
    assert block.phase_ns[:, :, WAIT].tolist() == [[6]]
    assert block.start_ns.tolist() == [[1]]


def test_the_loss_is_averaged_in_float64_and_nan_stays() -> None:
    recorder = Recorder(Meter())
    losses = np.array([2**24, 1, 1, 1], np.float32)
    recorder.step(0, losses)
    recorder.step(1, np.array([1, np.nan, 1, 1], np.float32))
    result = gather(recorder).loss[:, 0]
    assert result[0] == (2**24 + 3) / 4
    assert np.isnan(result[1])


def test_the_phases_of_a_step_add_up_to_it() -> None:
    meter = Meter()
    recorder = Recorder(meter)
    starts = []
    for _ in range(3):
        starts.append(meter.start())
        for phase in (DATA, WAIT, OTHER):
            meter.lap(phase)
        recorder.step(starts[-1], np.zeros(1))
    end = meter.start()
    block = gather(recorder)
    took = block.phase_ns.sum(2)[:, 0]
    assert (took > 0).all()
    assert (block.start_ns[:, 0] + took <= np.array([*starts[1:], end])).all()


def test_time_before_a_start_belongs_to_no_phase() -> None:
    meter = Meter()
    meter.start()
    assert meter.ns == [0] * len(PHASES)
    meter.sent(5)
    meter.sent(7)
    assert (meter.messages, meter.bytes_sent, meter.bytes_copied) == (2, 12, 0)
