"""Plans of faults, drawn by seed, and their effect on the ranks of a running job.

A plan is the same for every strategy: a fault strikes a rank in an interval between two
evaluations, so at a step and not at a time, which would depend on the strategy.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.common.cli import RANK_VARIABLES

KINDS = {
    "kill": "SIGKILL ends the rank",
    "freeze": "SIGSTOP holds the rank, until the watchdog acts",
}
"""Kinds of faults by name."""


@dataclass(frozen=True)
class Fault:
    """Fault of a plan."""

    kind: str
    rank: int
    interval: int
    """Evaluation after which it strikes, counted in --eval-every steps."""
    share: float
    """Part of the time between two evaluations that passes before, in [0, 1)."""

    def step(self, eval_every: int) -> int:
        """Return the step in which the fault strikes, at an even pace."""
        return int((self.interval + self.share) * eval_every)


def draw(
    seed: int, plan: int, count: int, kinds: Sequence[str], ranks: int, intervals: int
) -> list[Fault]:
    """Return the faults of a plan, each on another rank and in another interval, by interval.

    intervals: number of whole intervals between evaluations; none strikes in the first one, whose
    time is not known. count: at most ranks and intervals - 1.
    """
    rng = random.Random(f"{seed} {plan}")
    places = sorted(rng.sample(range(1, intervals), count))
    victims = rng.sample(range(ranks), count)
    return [
        Fault(rng.choice(kinds), rank, interval, rng.random())
        for rank, interval in zip(victims, places, strict=True)
    ]


def strike(fault: Fault, launcher: int) -> bool:
    """Apply a fault to its rank; return False if the rank is not there any more.

    launcher: process id of mpirun.
    """
    pid = rank_processes(launcher).get(fault.rank)
    if pid is None:
        return False
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL if fault.kind == "kill" else signal.SIGSTOP)
    return True


def rank_processes(launcher: int) -> dict[int, int]:
    """Return the process id of each rank of mpirun on this host, by rank."""
    children = Path(f"/proc/{launcher}/task").glob("*/children")
    pids: dict[int, int] = {}
    for pid in (int(pid) for path in children for pid in path.read_text().split()):
        with suppress(OSError):  # it has ended
            words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            variables = dict(word.decode(errors="replace").split("=", 1) for word in words if word)
            pids |= {int(variables[x]): pid for x in RANK_VARIABLES[:1] if x in variables}
    return pids
