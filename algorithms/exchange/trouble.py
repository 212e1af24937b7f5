"""Injected trouble: slow workers, lost messages, slow links; alike for real and virtual workers.

Who is hit is drawn by (seed, worker or link, step) alone, so the same workers suffer the same at
the same step wherever they live.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

STRAGGLER_STREAM, LOSS_STREAM = 5, 6
"""Keep these draws apart from others of the same seed."""
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "": 1.0}
RATES = {"GB/s": 1e9, "MB/s": 1e6, "kB/s": 1e3, "B/s": 1.0}


def seconds(text: str, what: str) -> float:
    """`2ms`, `50us`, `0.1s` as seconds. Errors: ValueError, where `what` names the option."""
    found = re.fullmatch(r"([0-9.]+(?:e-?[0-9]+)?)(s|ms|us)?", text)
    if not found:
        raise ValueError(f"{what} must be a time such as 2ms, 50us or 0.1s, got {text!r}")
    return float(found[1]) * UNITS[found[2] or ""]


def bytes_per_second(text: str, what: str) -> float:
    """`10MB/s`, `1.25GB/s` as bytes a second. Errors: ValueError."""
    found = re.fullmatch(r"([0-9.]+(?:e-?[0-9]+)?)(GB/s|MB/s|kB/s|B/s)", text)
    if not found or not float(found[1]) > 0:
        raise ValueError(f"{what} must be a rate such as 10MB/s or 1.25GB/s, got {text!r}")
    return float(found[1]) * RATES[found[2]]


def sleep_until(clock_ns: int) -> None:
    """Return when time.perf_counter_ns() has come to clock_ns; at once where it is past."""
    left = clock_ns - time.perf_counter_ns()
    if left > 0:
        time.sleep(left / 1e9)


@dataclass(frozen=True)
class Straggler:
    """A worker that is always slow, or any worker that is late now and then."""

    worker: int | None = field(default=None, metadata={"help": "the slow worker"})
    factor: float = field(default=5.0, metadata={"help": "times as long as its gradient takes"})
    probability: float = field(
        default=0.0, metadata={"help": "that a worker is late in a step, any worker"}
    )
    delay: str = field(default="50ms", metadata={"help": "how late it is then"})

    def __post_init__(self) -> None:
        if self.worker is None and not self.probability:
            raise ValueError(
                "give worker=3 (always slow) or probability=0.05 (any worker, now and then)"
            )
        if self.worker is not None and self.worker < 0:
            raise ValueError(f"worker must be >= 0, got {self.worker}")
        if not 1 <= self.factor < float("inf"):
            raise ValueError(f"factor must be >= 1 and finite, got {self.factor}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must be in [0, 1], got {self.probability}")
        seconds(self.delay, "delay")

    def late_s(self, ids: range, step: int, took_s: float, seed: int) -> float:
        """Seconds that the latest of the workers `ids` needs more for a gradient that took took_s.

        A gradient of V workers on one rank takes each of them the V-th part of it.
        """
        late = 0.0
        if self.worker is not None and self.worker in ids:
            late = (self.factor - 1) * took_s / len(ids)
        if self.probability:
            drawn = [
                np.random.default_rng((seed, STRAGGLER_STREAM, worker, step)).random()
                for worker in ids
            ]
            if min(drawn) < self.probability:
                late += seconds(self.delay, "delay")
        return late


@dataclass(frozen=True)
class Link:
    """What every message between two workers needs: a latency, and its bytes over a bandwidth."""

    latency: str = field(default="0s", metadata={"help": "from the last byte sent to its arrival"})
    bandwidth: str = field(
        default="", metadata={"help": "of each worker's own link out, e.g. 10MB/s; empty: no limit"}
    )

    def __post_init__(self) -> None:
        seconds(self.latency, "latency")
        if self.bandwidth:
            bytes_per_second(self.bandwidth, "bandwidth")

    @property
    def latency_ns(self) -> float:
        """Nanoseconds."""
        return 1e9 * seconds(self.latency, "latency")

    def sending_ns(self, nbytes: int) -> float:
        """How long nbytes keep the link out busy, ns."""
        return 1e9 * nbytes / bytes_per_second(self.bandwidth, "") if self.bandwidth else 0.0


@dataclass(frozen=True)
class Trouble:
    """All that goes wrong on purpose in a run."""

    straggler: Straggler | None = None
    drop: float = 0.0
    """Probability that a message between two workers is lost."""
    link: Link | None = None
    seed: int = 0
    NONE: ClassVar[Trouble]

    def __post_init__(self) -> None:
        if not 0 <= self.drop < 1:
            raise ValueError(f"drop must be in [0, 1), got {self.drop}")

    def arrives(
        self, sender: NDArray[np.int64], receiver: NDArray[np.int64], turn: int
    ) -> NDArray[np.bool_]:
        """(E,) which messages of the turn-th exchange of a run are not lost.

        Drawn for each link by (seed, turn, sender, receiver).
        """
        words = sender.astype(np.uint64) << np.uint64(32) | receiver.astype(np.uint64)
        root = np.random.SeedSequence((self.seed, LOSS_STREAM, turn)).generate_state(1, np.uint64)
        words = (words ^ root) * np.uint64(0xFF51AFD7ED558CCD)
        words = (words ^ words >> np.uint64(33)) * np.uint64(0xC4CEB9FE1A85EC53)
        drawn = (words ^ words >> np.uint64(33)) / 2.0**64
        kept: NDArray[np.bool_] = drawn >= self.drop
        return kept


Trouble.NONE = Trouble()
