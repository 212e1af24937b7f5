"""Injected faults: stragglers, lost messages and slow links, alike for real and virtual workers.

Faults are drawn by (seed, worker or link, step) alone, so that the same workers have the same
faults at the same step on any placement.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

STRAGGLER_STREAM, LOSS_STREAM, BURST_STREAM = 5, 6, 11
"""Streams of these draws, apart from others of the same seed."""
NUMBER = r"(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]{1,3})?"
LONGEST_S = 1e6
"""Longest delay, which sleep() takes."""
MOST_FACTOR = 1e9
UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "": 1.0}
RATES = {"GB/s": 1e9, "MB/s": 1e6, "kB/s": 1e3, "B/s": 1.0}


def seconds(text: str, what: str) -> float:
    """Return the seconds of `2ms`, `50us` or `0.1s`. Errors: ValueError with the option `what`."""
    parts = re.fullmatch(rf"({NUMBER})(s|ms|us)?", text)
    if not parts:
        raise ValueError(f"{what} must be a time such as 2ms, 50us or 0.1s, got {text!r}")
    value = float(parts[1]) * UNITS[parts[2] or ""]
    if value > LONGEST_S:
        raise ValueError(f"{what} must be at most {LONGEST_S:g} s, got {text!r}")
    return value


def check_unit(text: str, what: str) -> None:
    """Check that a time has a unit, unless it is 0. Errors: ValueError with the option `what`."""
    value = seconds(text, what)
    if value and text[-1] != "s":
        raise ValueError(f"{what} must be a time with a unit, {text}ms or {text}s, got {text!r}")


def bytes_per_second(text: str, what: str) -> float:
    """Return the bytes a second of `10MB/s` or `1.25GB/s`. Errors: ValueError with `what`."""
    parts = re.fullmatch(rf"({NUMBER})(GB/s|MB/s|kB/s|B/s)", text)
    if not parts or not float(parts[1]) > 0:
        raise ValueError(f"{what} must be a rate such as 10MB/s or 1.25GB/s, got {text!r}")
    rate = float(parts[1]) * RATES[parts[2]]
    if not 1 <= rate < float("inf"):
        raise ValueError(f"{what} must be finite and at least 1B/s, got {text!r}")
    return rate


@dataclass(frozen=True)
class Straggler:
    """Stragglers: one worker that is always slow, or any worker at random steps."""

    worker: int | None = field(default=None, metadata={"help": "the slow worker"})
    factor: float = field(default=5.0, metadata={"help": "factor on the time of its gradient"})
    probability: float = field(
        default=0.0, metadata={"help": "probability that a worker is late in a step"}
    )
    delay: str = field(default="50ms", metadata={"help": "delay of a late worker"})

    def __post_init__(self) -> None:
        if self.worker is None and not self.probability:
            raise ValueError(
                "give worker=3 (always slow) or probability=0.05 (any worker, at random steps)"
            )
        if self.worker is not None and self.worker < 0:
            raise ValueError(f"worker must be >= 0, got {self.worker}")
        if not 1 <= self.factor < float("inf"):
            raise ValueError(f"factor must be >= 1 and finite, got {self.factor}")
        if self.factor > MOST_FACTOR:
            raise ValueError(f"factor must be at most {MOST_FACTOR:g}, got {self.factor}")
        if self.delay != type(self).delay and not self.probability:
            raise ValueError(
                f"delay={self.delay} is for random steps: give probability=1 as well, or factor=5 "
                "for a worker that is always slow"
            )
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must be in [0, 1], got {self.probability}")
        seconds(self.delay, "delay")

    def late_s(self, ids: Sequence[int], step: int, took_s: float, seed: int) -> float:
        """Return the delay, s, of the latest of some workers after a gradient of took_s seconds.

        Each of V workers on one rank takes a V-th part of the time.
        """
        late = 0.0
        if self.worker is not None and self.worker in ids:
            late = (self.factor - 1) * took_s / len(ids)
        if self.probability:
            draws = [
                np.random.default_rng((seed, STRAGGLER_STREAM, worker, step)).random()
                for worker in ids
            ]
            if min(draws) < self.probability:
                late += seconds(self.delay, "delay")
        return late


@dataclass(frozen=True)
class Link:
    """Slow links between workers: a latency and a bandwidth for every message."""

    latency: str = field(default="0s", metadata={"help": "from the last byte sent to its arrival"})
    bandwidth: str = field(
        default="",
        metadata={"help": "of a worker's outgoing link, e.g. 10MB/s; empty: no limit"},
    )

    def __post_init__(self) -> None:
        seconds(self.latency, "latency")
        if self.bandwidth:
            bytes_per_second(self.bandwidth, "bandwidth")

    @property
    def latency_ns(self) -> float:
        """Latency, ns."""
        return 1e9 * seconds(self.latency, "latency")

    def sending_ns(self, nbytes: float) -> float:
        """Return the time for which nbytes occupy the outgoing link, ns."""
        return 1e9 * nbytes / bytes_per_second(self.bandwidth, "") if self.bandwidth else 0.0


@dataclass(frozen=True)
class LossBursts:
    """Lost messages in bursts: each link is good or bad, and changes at random between rounds.

    Gilbert, Capacity of a Burst-Noise Channel, Bell System Technical Journal 1960; Elliott 1963.
    A link is bad in a share bad / (bad + good) of the rounds, for 1 / good rounds at a time.
    """

    bad: float = field(
        default=0.01, metadata={"help": "probability a round that a good link becomes bad"}
    )
    good: float = field(
        default=0.2, metadata={"help": "probability a round that a bad link becomes good"}
    )
    loss: float = field(
        default=1.0, metadata={"help": "fraction of the messages lost over a bad link"}
    )

    def __post_init__(self) -> None:
        for name in ("bad", "good", "loss"):
            if not 0 < vars(self)[name] <= 1:
                raise ValueError(f"{name} must be in (0, 1], got {vars(self)[name]}")

    @property
    def share(self) -> float:
        """Share of the rounds in which a link is bad."""
        return self.bad / (self.bad + self.good)

    def is_bad(self, words: NDArray[np.uint64], turn: int, seed: int) -> NDArray[np.bool_]:
        """Return a mask of the links that are bad in a round, (E,) bool; words: (E,) of the links.

        One uniform draw u of each link and round moves it in either state: it is bad after it if u
        is below both `bad` and 1 - good, and good if u is above both. Between the two it keeps its
        state, or changes it if bad > 1 - good. So the state follows from the last draws before.
        """
        low, high = sorted((self.bad, 1 - self.good))
        bad, flips = np.zeros(len(words), bool), self.bad > 1 - self.good
        open_ = np.arange(len(words))
        odd = False
        for t in range(turn, -1, -1):
            u = _uniform(words[open_], (seed, BURST_STREAM, t))
            if not t:  # the first round is stationary
                bad[open_] = (u < self.share) ^ odd
                return bad
            known = (u < low) | (u >= high)
            bad[open_[known]] = (u[known] < low) ^ odd
            open_, odd = open_[~known], odd ^ flips
            if not len(open_):
                break
        return bad


@dataclass(frozen=True)
class Trouble:
    """All injected faults of a run."""

    straggler: Straggler | None = None
    drop: float = 0.0
    """Probability that a message between two workers is lost, over a good link."""
    loss_bursts: LossBursts | None = None
    link: Link | None = None
    seed: int = 0
    NONE: ClassVar[Trouble]

    def __post_init__(self) -> None:
        if not 0 <= self.drop < 1:
            raise ValueError(f"drop must be in [0, 1), got {self.drop}")

    @property
    def loses(self) -> bool:
        """Report whether messages may be lost."""
        return self.drop > 0 or self.loss_bursts is not None

    def arrives(
        self, sender: NDArray[np.int64], receiver: NDArray[np.int64], turn: int
    ) -> NDArray[np.bool_]:
        """Return a (E,) bool mask of the messages of a round that are not lost.

        turn: number of the round in the run. Drawn for each link by (seed, turn, sender, receiver).
        """
        words = sender.astype(np.uint64) << np.uint64(32) | receiver.astype(np.uint64)
        lost: float | NDArray[np.float64] = self.drop
        if self.loss_bursts:
            bad = self.loss_bursts.is_bad(words, turn, self.seed)
            lost = np.where(bad, self.loss_bursts.loss, self.drop)
        mask: NDArray[np.bool_] = _uniform(words, (self.seed, LOSS_STREAM, turn)) >= lost
        return mask


def _uniform(words: NDArray[np.uint64], numbers: tuple[int, int, int]) -> NDArray[np.float64]:
    """Return a draw from [0, 1) for each link, by its word, seed, stream and round."""
    root = np.random.SeedSequence(numbers).generate_state(1, np.uint64)
    words = (words ^ root) * np.uint64(0xFF51AFD7ED558CCD)
    words = (words ^ words >> np.uint64(33)) * np.uint64(0xC4CEB9FE1A85EC53)
    draws: NDArray[np.float64] = (words ^ words >> np.uint64(33)) / 2.0**64
    return draws


Trouble.NONE = Trouble()
