"""Interleaved 1F1B: every position computes several stages that are far apart in the model.

Narayanan, Shoeybi, Casper, LeGresley, Patwary, Korthikanti, Vainbrand, Kashinkunti, Bernauer,
Catanzaro, Phanishayee, Zaharia: Efficient Large-Scale Language Model Training on GPU Clusters Using
Megatron-LM, SC 2021, section 2.2.2. Symbols: protocol.py; v chunks, R = K / v positions. Position r
has the stages r, r + R, ..., its chunks. Departures: none.

    (1) Micro-batches pass through a chunk in groups of R, then through the next chunk.
    (2) Warm-up: 2 (R - 1 - r) + (v - 1) R forward passes; all of them if M = R.
    (3) One forward and one backward pass in turns, then the remaining backward passes.

The bubble is 1/v of that of 1F1B on the same ranks, with v times as many messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from algorithms.pipelines.protocol import Action, Pipeline, repeated


def warmup_passes(position: int, positions: int, microbatches: int, chunks: int) -> int:
    """Return the number of forward passes before the first backward pass."""
    if microbatches == positions:
        return microbatches * chunks
    passes = 2 * (positions - 1 - position) + (chunks - 1) * positions
    return min(passes, microbatches * chunks)


def interleaved(position: int, positions: int, microbatches: int, chunks: int) -> list[Action]:
    """Return the actions of a position for one minibatch."""
    forward, backward = [], []
    for k in range(microbatches * chunks):  # (1)
        group, place = divmod(k, positions * chunks)
        chunk, m = place // positions, group * positions + place % positions
        forward.append(Action("forward", chunk * positions + position, m))
        backward.append(Action("backward", (chunks - 1 - chunk) * positions + position, m))
    warmup = warmup_passes(position, positions, microbatches, chunks)  # (2)
    actions = forward[:warmup]
    for ahead, behind in zip(forward[warmup:], backward, strict=False):  # (3)
        actions += [ahead, behind]
    return actions + backward[len(forward) - warmup :]


@dataclass(frozen=True)
class Interleaved(Pipeline):
    """1F1B with several stages, far apart, at every position (interleaved 1F1B)."""

    stages: int = field(default=4, metadata={"help": "K, the stages that the model is cut into"})
    chunks: int = field(default=2, metadata={"help": "v, the stages of a position"})

    def __post_init__(self) -> None:
        Pipeline.__post_init__(self)
        if self.chunks < 2:
            raise ValueError(f"chunks must be >= 2, got {self.chunks}: one chunk is 1f1b")
        if self.stages % self.chunks:
            raise ValueError(
                f"stages must be a multiple of chunks={self.chunks}, got {self.stages}: take "
                f"stages={-(-self.stages // self.chunks) * self.chunks}"
            )
        if self.microbatches % self.positions:
            raise ValueError(
                f"microbatches must be a multiple of stages / chunks = {self.positions}, got "
                f"{self.microbatches}: take microbatches="
                f"{-(-self.microbatches // self.positions) * self.positions}, or 1f1b"
            )

    @property
    def positions(self) -> int:
        """Return R = K / v."""
        return self.stages // self.chunks

    def actions(self, position: int, minibatches: int = 1) -> list[Action]:
        """Return the actions of a position for some minibatches, in order."""
        R, M, v = self.positions, self.microbatches, self.chunks
        return repeated(lambda: interleaved(position, R, M, v), M, minibatches)

    def in_flight(self, position: int) -> int:
        """Return the forward passes of the warm-up and one more, at most all."""
        warmup = warmup_passes(position, self.positions, self.microbatches, self.chunks)
        return min(warmup + 1, self.microbatches * self.chunks)

    def makespan(self, forward: float, input: float, weight: float) -> float:
        """Return (M v + R - 1) (f + b)."""
        passes = self.microbatches * self.chunks + self.positions - 1
        return passes * (forward + input + weight)
