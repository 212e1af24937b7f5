"""Model clock of a pipeline: start and end of every action, and peaks of kept activations.

Every position computes its actions one after the other. An action starts when the position is idle
and its input has arrived: activations of the stage before it for a forward pass, the gradient of
the stage after it for a backward pass. Messages take a latency, and no time of the sender.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from algorithms.pipelines.protocol import Action, Kind, Pipeline


@dataclass(frozen=True)
class Durations:
    """Times of the passes of each stage, (K,), and latency of a message between positions."""

    forward: Sequence[float]
    input: Sequence[float]
    weight: Sequence[float]
    latency: float = 0.0

    @classmethod
    def equal(
        cls, stages: int, forward: float, input: float, weight: float, latency: float = 0.0
    ) -> Durations:
        """Return durations of stages that all take the same times."""
        return cls([forward] * stages, [input] * stages, [weight] * stages, latency)

    def of(self, action: Action) -> float:
        """Return the duration of an action."""
        s = action.stage
        return {
            "forward": self.forward[s],
            "backward": self.input[s] + self.weight[s],
            "input": self.input[s],
            "weight": self.weight[s],
        }[action.kind]


@dataclass(frozen=True)
class Played:
    """A pipeline in model time."""

    spans: list[list[tuple[Action, float, float]]]
    """Actions of each position with start and end, in order."""
    makespan: float
    crossings: list[int]
    """Messages from each stage to the next one and back, (K - 1,): none inside a position."""

    @property
    def messages(self) -> int:
        """Return the number of messages: activations forward, gradients backward."""
        return sum(self.crossings)

    def bubble(self) -> float:
        """Return the idle fraction of the time of all positions."""
        busy = sum(end - start for spans in self.spans for _, start, end in spans)
        return 1 - busy / (len(self.spans) * self.makespan)


def inputs(action: Action, stages: int) -> list[Action]:
    """Return the actions before which an action cannot start, one or two.

    The result of the neighbouring stage is first; the pass of the same stage follows.
    """
    kind, stage, m = action
    if kind == "forward":
        return [Action("forward", stage - 1, m)] if stage else []
    if kind == "weight":
        return [Action("input", stage, m)]
    above = [Action(kind, stage + 1, m)] if stage + 1 < stages else []
    return [*above, Action("forward", stage, m)]


def play(pipeline: Pipeline, durations: Durations, minibatches: int = 1) -> Played:
    """Return the actions of all positions in model time.

    Errors: ValueError for a pipeline that deadlocks.
    """
    lists = [pipeline.actions(r, minibatches) for r in range(pipeline.positions)]
    played = play_lists(lists, pipeline.position, pipeline.stages, durations)
    if played is None:
        raise ValueError(f"{pipeline} deadlocks")
    return played


def play_lists(
    lists: Sequence[Sequence[Action]],
    place: Callable[[int], int],
    stages: int,
    durations: Durations,
) -> Played | None:
    """Return lists of actions in model time, each computed in its order; None if they deadlock.

    place(stage): list with the actions of a stage.
    """
    spans: list[list[tuple[Action, float, float]]] = [[] for _ in lists]
    ends: dict[Action, float] = {}
    waiting: dict[Action, int] = {}
    crossings = [0] * max(0, stages - 1)
    ready = list(range(len(lists)))
    while ready:
        r = ready.pop()
        now = spans[r][-1][2] if spans[r] else 0.0
        for action in lists[r][len(spans[r]) :]:
            needed = inputs(action, stages)
            absent = next((x for x in needed if x not in ends), None)
            if absent is not None:
                waiting[absent] = r
                break
            for x in needed:
                across = place(x.stage) != r
                if across:
                    crossings[min(x.stage, action.stage)] += 1
                now = max(now, ends[x] + durations.latency * across)
            spans[r].append((action, now, now + durations.of(action)))
            now = ends[action] = spans[r][-1][2]
            if action in waiting:
                ready.append(waiting.pop(action))
    if any(len(spans[r]) < len(actions) for r, actions in enumerate(lists)):
        return None
    return Played(spans, max(end for each in spans for _, _, end in each), crossings)


FREES: dict[Kind, bool] = {"forward": False, "backward": True, "input": False, "weight": True}
"""Passes after which the activations of a micro-batch are freed."""


def peaks(pipeline: Pipeline, minibatches: int = 1) -> list[int]:
    """Return the maximum number of forward passes each position keeps activations of, (R,)."""
    one = dict.fromkeys(range(pipeline.stages), 1)
    positions = range(pipeline.positions)
    return [peak(pipeline, pipeline.actions(r, minibatches), one, one) for r in positions]


def peak(
    pipeline: Pipeline,
    actions: Sequence[Action],
    inputs: Mapping[int, int],
    activations: Mapping[int, int],
) -> int:
    """Return the maximum size of what some actions keep between them, in order.

    inputs, activations: sizes for one micro-batch by stage. A forward pass keeps the activations;
    if the backward pass computes it again, the inputs until then.
    """
    size = most = 0
    for kind, stage, m in actions:
        again = pipeline.recomputes(m)
        if kind == "forward":
            size += inputs[stage] if again else activations[stage]
        elif again and kind != "weight":
            size += activations[stage] - inputs[stage]
        most = max(most, size)
        size -= activations[stage] * FREES[kind]
    return most
