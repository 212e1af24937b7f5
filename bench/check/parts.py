"""Checks of a topology, a partition, a task and a controller, in one process."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from algorithms.controllers.protocol import Decision, Observation, Setting
from algorithms.local_sgd import LocalSGD
from algorithms.topologies.mixing import MIXINGS
from bench.check.findings import FAILS, NOTE, Finding, judged
from bench.runtime.checkpoint.state import state
from partitions.protocol import Samples

TOTALS = (1, 2, 3, 4, 5, 7, 8, 12, 16, 31)
"""Numbers of workers."""
ROUNDS, LABELS = 12, 601
"""Rounds of a topology, and samples of a partition: a prime."""
MODELS, BATCH = 3, 4
SEGMENTS, MIDDLE = 12, 5
"""Segments of a controller, and those before its memory is copied."""


def topology(thing: Any) -> Iterator[Finding]:
    """Yield the findings of a topology."""
    sorted_, sized, repeats, drawn, wrong = True, True, True, True, []
    for total in TOTALS:
        period = thing.period(total)
        rounds = [thing.links(total, k, _rng(k)) for k in range(ROUNDS)]
        for k, links in enumerate(rounds):
            keys = links.target * total + links.source
            inside = bool(((links.source >= 0) & (links.source < total)).all())
            good = inside and bool((np.diff(keys) > 0).all())
            good &= not (links.source == links.target).any() and links.total == total
            if not good:
                wrong.append(f"round {k} of {total} workers")
            sorted_ &= good
            sized &= len(links.source) <= thing.size(total)
            again = thing.links(total, k, _rng(k))
            drawn &= _equal(links, again)
            if period and k + period < ROUNDS:
                repeats &= _equal(links, rounds[k + period])
    text = f"sorted by receiver, then sender, without self-links, at {_counts()} workers"
    yield judged(sorted_, "links", text, f"unsorted, double, own or out of range: {wrong[:3]}")
    yield judged(sized, "size", "no round has more links than it states")
    yield judged(repeats, "period", "links repeat after it", "links do not repeat after it")
    yield judged(drawn, "draws", "links depend on the round and its random numbers alone")
    yield _symmetry(thing)


def _symmetry(thing: Any) -> Finding:
    total = TOTALS[-1]
    links = thing.links(total, 0, _rng(0))
    way = "both ways" if links.symmetric else "one way: for push_sum and its kin"
    rules = []
    for rule, mixing in MIXINGS.items():
        try:
            mixing(links)
            rules.append(rule)
        except ValueError:
            continue
    return Finding(NOTE, "mixing", f"links go {way}; weights: {', '.join(rules) or 'none'}")


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _equal(one: Any, other: Any) -> bool:
    same = np.array_equal(one.source, other.source) and np.array_equal(one.target, other.target)
    return bool(same)


def _counts() -> str:
    return ", ".join(map(str, TOTALS))


def partition(thing: Any) -> Iterator[Finding]:
    """Yield the findings of a partition, on samples of four unequal classes."""
    labels = np.random.default_rng(5).choice([0, 1, 4, 9], size=LABELS, p=[0.6, 0.2, 0.15, 0.05])
    features = labels[:, None] + np.random.default_rng(6).standard_normal((LABELS, 3))
    samples = Samples(labels, features, np.random.default_rng(7).integers(0, 12, LABELS))
    labels.flags.writeable = False
    before: Any = np.random.get_state(legacy=True)
    shaped, refused, covers, same = [], [], [], True
    for parts in TOTALS:
        try:
            shards = thing.split(samples, parts, _rng(3))
        except ValueError as error:
            refused.append(f"{parts} ({error})")
            continue
        if not _well_formed(shards, parts):
            shaped.append(parts)
        indices = np.sort(np.concatenate(shards))
        if not np.array_equal(indices, np.arange(LABELS)):
            covers.append(parts)
        again = thing.split(samples, parts, _rng(3))
        same &= all(np.array_equal(a, b) for a, b in zip(shards, again, strict=True))
    if refused:
        yield Finding(NOTE, "workers", f"refuses {'; '.join(refused)}")
    text = f"ascending int64 indices for each of {_counts()} workers"
    yield judged(not shaped, "shards", text, f"other shards at {shaped} workers")
    if covers:
        yield Finding(NOTE, "cover", f"samples are left out or shared at {covers} workers")
    else:
        yield judged(True, "cover", "every sample once")
    yield judged(same, "draws", "a function of its random numbers alone")
    after: Any = np.random.get_state(legacy=True)
    yield judged(
        np.array_equal(before[1], after[1]), "global", "numpy's global random numbers stay"
    )
    yield _more_than_samples(thing)


def _well_formed(shards: list[NDArray[np.int64]], parts: int) -> bool:
    return len(shards) == parts and all(
        x.dtype == np.int64 and x.ndim == 1 and bool((np.diff(x) > 0).all()) for x in shards
    )


def _more_than_samples(thing: Any) -> Finding:
    few = Samples(np.arange(5) % 2, np.ones((5, 1)), np.zeros(5, np.int64))
    try:
        shards = thing.split(few, 9, _rng(0))
    except ValueError as error:
        return judged(True, "refusal", f"9 workers of 5 samples: {error}")
    text = "9 workers of 5 samples get shards"
    if not thing.needs.min_size:
        return Finding(NOTE, "refusal", f"{text}, some without a sample, as needs.min_size states")
    return judged(all(len(x) for x in shards), "refusal", text, f"{text}, some without a sample")


def task(thing: Any, data: str = "") -> Iterator[Finding]:
    """Yield the findings of a task."""
    problem, other = thing.load("float64", data), thing.load("float64", data)
    labels = problem.samples.labels
    yield judged(
        np.array_equal(labels, other.samples.labels) and _same_inputs(problem, other),
        "samples",
        f"{labels.size:,} to train and {problem.eval_samples:,} to evaluate, the same at every "
        "call",
        "other samples at another call: every rank would have its own; seed the draws",
    )
    first, again, third = (problem.initial(seed) for seed in (0, 0, 1))
    drawn = np.array_equal(first, again) and not np.array_equal(first, third)
    text = f"{problem.d:,} parameters, a function of the seed"
    yield judged(drawn, "model", text, f"{text}: not so")
    yield _gradients(problem)
    loss, metric = problem.evaluate(first[None])
    bounds = problem.metric.least <= metric[0] <= problem.metric.most
    text = f"{problem.metric.name} {metric[0]:.4g}, loss {loss[0]:.4g} at the start"
    yield judged(np.isfinite(loss[0]) and bounds, "score", text)


def _same_inputs(one: Any, other: Any) -> bool:
    at = np.arange(min(64, one.samples.size))
    for problem in (one, other):
        problem.hold(range(1), [at])
    a, b = one.inputs_at(at), other.inputs_at(at)
    return bool((a is None and b is None) or np.array_equal(a, b))


def _gradients(problem: Any) -> Finding:
    """Compare gradients of several workers at once with one worker at a time."""
    rows = np.stack([problem.initial(seed) for seed in range(MODELS)])
    together, alone = np.zeros_like(rows), np.zeros_like(rows)
    batches = np.arange(MODELS * BATCH).reshape(MODELS, BATCH) % min(64, problem.samples.size)
    learner = problem.learner(rows, together)
    learner.gradient(learner.fetch(batches))
    for i in range(MODELS):
        one = problem.learner(rows[i : i + 1], alone[i : i + 1])
        one.gradient(one.fetch(batches[i : i + 1]))
    scale = float(np.abs(alone).max())
    apart = float(np.abs(together - alone).max())
    good = np.isfinite(scale) and scale > 0 and apart <= 1e-9 * scale
    text = f"{MODELS} workers at once and one at a time agree, largest element {scale:.2g}"
    return judged(good, "gradient", text, f"{text}: they differ by {apart:.2g}")


def controller(thing: Any) -> Iterator[Finding]:
    """Yield the findings of a controller of local_sgd, whose loss falls from segment to segment."""
    setting = Setting(LocalSGD(), 8, seed=3, lr=0.1)
    try:
        thing.check(setting)
    except ValueError as error:
        yield Finding(NOTE, "algorithm", f"refuses local_sgd, further checks need it: {error}")
        return
    arms, memory = thing.arms(setting), thing.memory(setting)
    try:
        state({"memory": memory})
    except TypeError as error:
        yield Finding(FAILS, "memory", f"a checkpoint cannot store it: {error}")
        return
    yield judged(True, "memory", "a checkpoint can store it")
    last, decisions, wrong, pure = Observation(), list[Decision](), [], True
    copied: tuple[Any, Observation] | None = None
    for number in range(SEGMENTS):
        if number == MIDDLE:
            copied = copy.deepcopy(memory), last
        before = copy.deepcopy(memory)
        decision = thing.decide(setting, last, memory)
        pure &= decision == thing.decide(setting, last, memory) and _same(memory, before)
        decisions.append(decision)
        if not (isinstance(decision, Decision) and decision.steps >= 1):
            wrong.append(f"segment {number}: {decision!r}")
            break
        if arms and decision.arm not in range(len(arms)):
            wrong.append(f"segment {number}: arm {decision.arm} of {len(arms)}")
        last = _observed(last, decision)
        thing.observe(setting, last, decision, memory)
    text = f"{SEGMENTS} segments of 1 step or more" + (
        f", each of {len(arms)} arms" if arms else ""
    )
    yield judged(not wrong, "decisions", text, "; ".join(wrong[:3]))
    yield judged(pure, "pure", "decide gives the same twice and leaves the memory as it is")
    if copied and not wrong:
        memory, last = copied
        again = []
        for _ in range(MIDDLE, SEGMENTS):
            again.append(thing.decide(setting, last, memory))
            last = _observed(last, again[-1])
            thing.observe(setting, last, again[-1], memory)
        text = "the same decisions from a copy of the memory"
        yield judged(again == decisions[MIDDLE:], "checkpoint", text, f"not {text}")


def _observed(last: Observation, decision: Decision) -> Observation:
    """Return the segment of a decision: a loss that falls, at 10 ms a step."""
    steps = min(decision.steps, 50)
    first, end = (2.3 / (1 + 0.01 * step) for step in (last.step, last.step + steps))
    return Observation(
        round=last.round + 1,
        step=last.step + steps,
        steps=steps,
        seconds=0.01 * steps,
        nbytes=1000.0 * steps,
        loss_first=first,
        loss_last=end,
        loss_mean=(first + end) / 2,
        start_loss=2.3,
        consensus=0.1,
    )


def _same(memory: Any, before: Any) -> bool:
    """Return whether two memories have equal contents."""
    pair = [state({"memory": x}) for x in (memory, before)]
    arrays, numbers = ([x.arrays for x in pair], [x.numbers for x in pair])
    return all(
        np.array_equal(array, arrays[1][name], equal_nan=True) for name, array in arrays[0].items()
    ) and all(
        np.array_equal(x.get(), numbers[1][name].get(), equal_nan=True)
        for name, x in numbers[0].items()
    )
