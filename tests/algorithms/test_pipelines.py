"""Pipelines in one process: order, deadlock, time, memory, messages and versions of parameters."""

from collections.abc import Iterator

import numpy as np
import pytest

from algorithms.pipelines import PIPELINES
from algorithms.pipelines.clock import Durations, inputs, peaks, play
from algorithms.pipelines.gpipe import GPipe
from algorithms.pipelines.interleaved import Interleaved
from algorithms.pipelines.one_f_one_b import OneFOneB
from algorithms.pipelines.pipedream import PipeDream
from algorithms.pipelines.protocol import Action, Pipeline
from algorithms.pipelines.zb_h1 import ZeroBubbleH1

STAGES, MICROBATCHES = range(1, 9), (*range(1, 10), 12, 14, 16, 24)


def variants(K: int, M: int) -> Iterator[Pipeline]:
    """Yield every pipeline of K stages and M micro-batches, with its options."""
    yield GPipe(K, M)
    yield from (OneFOneB(K, M, ahead=a) for a in (1, 2, 3))
    yield ZeroBubbleH1(K, M)
    for v in (2, 3, 4):
        if K % v == 0 and M % (K // v) == 0:
            yield Interleaved(K, M, chunks=v)
    yield from (PipeDream(K, M, versions=v) for v in ("stash", "vertical", "none"))
    if M >= K - 1:
        yield PipeDream(K, M, versions="two")


ALL = [each for K in STAGES for M in MICROBATCHES for each in variants(K, M)]


def minibatches(pipeline: Pipeline) -> int:
    """Return a number of minibatches that fills an asynchronous pipeline."""
    return 1 + -(-pipeline.stages // pipeline.microbatches) if pipeline.asynchronous else 1


def test_every_registered_pipeline_is_tested() -> None:
    assert {type(each) for each in ALL} == set(PIPELINES.values())


def test_every_pass_is_computed_once_and_backward_passes_ascend() -> None:
    for pipeline in ALL:
        count = minibatches(pipeline)
        whole = range(count * pipeline.microbatches)
        for r in range(pipeline.positions):
            actions = pipeline.actions(r, count)
            assert len(set(actions)) == len(actions)
            for stage in {action.stage for action in actions}:
                assert pipeline.position(stage) == r
                own = [action for action in actions if action.stage == stage]
                kinds = {action.kind for action in own}
                assert kinds in ({"forward", "backward"}, {"forward", "input", "weight"})
                for kind in kinds:
                    assert [x.microbatch for x in own if x.kind == kind] == list(whole)


def test_inputs_of_an_action_come_before_it() -> None:
    for pipeline in ALL:
        durations = Durations.equal(pipeline.stages, 1, 1, 1, latency=0.5)
        played = play(pipeline, durations, minibatches(pipeline))
        ends = {action: end for spans in played.spans for action, _, end in spans}
        for spans in played.spans:
            for action, start, _ in spans:
                for needed in inputs(action, pipeline.stages):
                    assert ends[needed] <= start


def test_makespans_peaks_and_messages_equal_their_formulas() -> None:
    f, b_i, b_w = 2.0, 3.0, 1.5
    for pipeline in ALL:
        K, M, R = pipeline.stages, pipeline.microbatches, pipeline.positions
        count = minibatches(pipeline)
        played = play(pipeline, Durations.equal(K, f, b_i, b_w), count)
        expected = pipeline.makespan(f, b_i, b_w)
        if pipeline.asynchronous:  # fills once, for any number of minibatches
            expected = (count * M + K - 1) * (f + b_i + b_w)
        if isinstance(pipeline, ZeroBubbleH1) and M < K:
            assert expected - 1e-9 <= played.makespan <= OneFOneB(K, M).makespan(f, b_i, b_w)
        else:
            assert played.makespan == pytest.approx(expected, rel=1e-12), pipeline
        limit = count * M * (K // R)
        assert peaks(pipeline, count) == [min(pipeline.in_flight(r), limit) for r in range(R)]
        assert played.crossings == [2 * count * M if R > 1 else 0] * (K - 1), pipeline
        assert played.messages == sum(played.crossings)


@pytest.mark.parametrize("K", STAGES)
def test_bubbles_equal_their_formulas(K: int) -> None:
    for M in MICROBATCHES:
        durations = Durations.equal(K, 1, 1, 1)
        for pipeline in (GPipe(K, M), OneFOneB(K, M)):
            assert play(pipeline, durations).bubble() == pytest.approx((K - 1) / (M + K - 1))


def test_random_stages_have_the_period_of_the_slowest_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        K = int(rng.integers(1, 9))
        f, b_i, b_w = rng.uniform(0.1, 1, (3, K))
        durations = Durations(f.tolist(), b_i.tolist(), b_w.tolist())
        long, longer = (play(PipeDream(K), durations, n).makespan for n in (60, 61))
        assert longer - long == pytest.approx(max(f + b_i + b_w))
        synchronous = OneFOneB(K, 24), ZeroBubbleH1(K, 24)
        one, zero = (play(pipeline, durations).makespan for pipeline in synchronous)
        assert zero <= one + 1e-9


def test_latency_slows_gpipe_and_1f1b_as_predicted() -> None:
    K, f, b = 4, 1.0, 2.0
    c = 2 / 3 * (f + b)
    durations = Durations.equal(K, f, b / 2, b / 2, c)
    for M in (32, 64):
        expected = (M + K - 1) * (f + b) + 2 * (K - 1) * c
        assert play(GPipe(K, M), durations).makespan == pytest.approx(expected)
    for ahead in (1, 2, 3):
        long, longer = (play(OneFOneB(K, M, ahead=ahead), durations).makespan for M in (420, 840))
        period = max(((h + 1) * (f + b) + 2 * h * c) / (ahead * h + 1) for h in range(K))
        assert (longer - long) / 420 == pytest.approx(period)
    times = [play(p(K, 32), durations).makespan / (f + b) for p in (GPipe, OneFOneB)]
    assert times == pytest.approx([117 / 3, 209 / 3], rel=2e-3)


def deadlocks(pipeline: Pipeline, *, blocking: bool) -> bool:
    """Return whether a pipeline stops if a send ends only when its receiver wants the message.

    blocking: a position waits for its sends, as MPI_Send without a buffer; else sends are
    MPI_Isend, and a position waits for its inputs only.
    """
    lists = [pipeline.actions(r) for r in range(pipeline.positions)]
    at = [0] * len(lists)
    done: set[Action] = set()
    received: set[tuple[Action, Action]] = set()

    def consumer(action: Action) -> Action | None:
        kind, stage, m = action
        after = Action(kind, stage + (1 if kind == "forward" else -1), m)
        inside = kind != "weight" and 0 <= after.stage < pipeline.stages
        return after if inside and pipeline.positions > 1 else None

    moved = True
    while moved:
        moved = False
        for r, actions in enumerate(lists):
            if at[r] == len(actions):
                continue
            action = actions[at[r]]
            if action not in done:
                needed = inputs(action, pipeline.stages)
                if all(x in done for x in needed):
                    received |= {(x, action) for x in needed if x.stage != action.stage}
                    done.add(action)
                    moved = True
            if action in done:
                after = consumer(action)
                if not blocking or after is None or (action, after) in received:
                    at[r] += 1
                    moved = True
    return any(at[r] < len(actions) for r, actions in enumerate(lists))


def test_sends_that_wait_deadlock_all_but_gpipe() -> None:
    for pipeline in ALL:
        if pipeline.asynchronous:
            continue
        assert not deadlocks(pipeline, blocking=False)
        if isinstance(pipeline, GPipe):
            assert not deadlocks(pipeline, blocking=True)
        elif isinstance(pipeline, Interleaved):
            assert deadlocks(pipeline, blocking=True) == (pipeline.positions > 1)
    assert deadlocks(OneFOneB(2, 2), blocking=True)
    assert deadlocks(ZeroBubbleH1(2, 2), blocking=True)


def test_versions_exist_when_they_are_used_and_are_not_older_than_stored() -> None:
    for pipeline in ALL:
        if not isinstance(pipeline, PipeDream):
            continue
        M = pipeline.microbatches
        for stage in range(pipeline.stages):
            updates, oldest = 0, 0
            for action in pipeline.actions(stage, minibatches(pipeline) + 3):
                used = pipeline.version(stage, action.microbatch)
                if action.kind == "forward":
                    assert used <= updates
                    if pipeline.versions in ("stash", "none"):
                        assert used == updates
                else:
                    oldest = max(oldest, updates - used)
                    updates += action.microbatch % M == M - 1
            if pipeline.versions != "none":
                assert oldest + 1 <= pipeline.weights(stage)
    for K in STAGES:
        stash, vertical = PipeDream(K), PipeDream(K, versions="vertical")
        assert [stash.weights(s) for s in range(K)] == [K - s for s in range(K)]
        assert [vertical.weights(s) for s in range(K)] == [K] * K
        t = 20
        assert [t - stash.version(s, t) for s in range(K)] == [K - 1 - s for s in range(K)]
        assert {t - vertical.version(s, t) for s in range(K)} == {K - 1}


def test_recomputation_of_some_micro_batches() -> None:
    chosen = {
        kind: [GPipe(2, 3, recompute=kind).recomputes(m) for m in range(6)]
        for kind in ("never", "except_last", "always")
    }
    assert chosen == {
        "never": [False] * 6,
        "except_last": [True, True, False] * 2,
        "always": [True] * 6,
    }


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: GPipe(stages=0), "stages must be >= 1, got 0"),
        (lambda: GPipe(microbatches=0), "microbatches must be >= 1, got 0"),
        (lambda: GPipe(recompute="some"), "recompute must be one of"),
        (lambda: OneFOneB(ahead=0), "ahead must be >= 1, got 0"),
        (lambda: Interleaved(4, 3), "take microbatches=4, or 1f1b"),
        (lambda: Interleaved(5, 4), "take stages=6"),
        (lambda: Interleaved(4, 4, chunks=1), "one chunk is 1f1b"),
        (lambda: PipeDream(8, 4, versions="two"), "microbatches=7, or versions=stash"),
        (lambda: PipeDream(versions="none", recompute="always"), "take recompute=never"),
    ],
)
def test_mistakes_are_refused(build: type[Pipeline], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()
