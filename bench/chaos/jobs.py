"""Launches of a run by mpirun under a plan of faults, from the first launch to the last step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.chaos.faults import Fault, strike
from bench.chaos.options import Strategy
from bench.results.chaos import UNKNOWN
from bench.session.starting import rank_processes

POLL_S = 0.005
"""Interval between two looks at a job."""
HANG = "no evaluation within --limit"


@dataclass
class Strike:
    """Fault of a plan, and the times at which it struck and was detected by the end of the job."""

    fault: Fault
    struck_ns: int = UNKNOWN
    ended_ns: int = UNKNOWN


@dataclass
class Trial:
    """Launches of one run with its faults."""

    strikes: list[Strike]
    launches: int = 0
    began_ns: int = UNKNOWN
    """Time of the first evaluation, before the first step."""
    flaw: str = ""
    """Reason for which the run did not end well; empty if it did."""


@dataclass
class Evaluations:
    """Evaluations of a run, as --jsonl has them."""

    path: Path
    read: int = 0
    """Number of bytes that were read."""
    step: int = -1
    """Step of the newest evaluation since the last fault; -1 without one."""
    interval_s: float = 0.0
    """Training time between the last two evaluations."""
    seen_s: float = field(default_factory=time.monotonic)
    """Time of the last news."""
    began_ns: int = UNKNOWN
    """Time at which the first one was seen."""
    _last: tuple[int, float] = (0, 0.0)

    def update(self) -> None:
        """Read the evaluations since the last call."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self.read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self.read += len(whole)
        if whole and self.began_ns == UNKNOWN:
            self.began_ns = time.perf_counter_ns()
        for line in whole.splitlines():
            row = json.loads(line)
            at = int(row["step"]), float(row["elapsed_s"])
            if at[0] > self._last[0]:
                self.interval_s = at[1] - self._last[1]
            self._last, self.step, self.seen_s = at, at[0], time.monotonic()


def trial(
    strategy: Strategy,
    command: Sequence[str],
    faults: Sequence[Fault],
    eval_every: int,
    limit_s: float,
    seconds: float,
    place: Path,
) -> Trial:
    """Launch a run, strike its faults, launch it again where the strategy does; return the trial.

    command: of the first launch, whose --jsonl is PLACE.jsonl; its output goes to PLACE.log.
    limit_s: time without an evaluation that is a hang. seconds: duration of faults that pass.
    """
    result = Trial([Strike(fault) for fault in faults])
    evaluations = Evaluations(place.with_suffix(".jsonl"))
    log = place.with_suffix(".log")
    for path in (evaluations.path, log):
        path.unlink(missing_ok=True)
    waiting = list(result.strikes)
    while True:
        result.launches += 1
        left = len(waiting)
        more = ["--resume"] if result.launches > 1 else []
        with job([*command, *more], log) as process:
            code, hangs = _follow(process, evaluations, waiting, eval_every, limit_s, seconds)
        ended_ns = time.perf_counter_ns()
        result.began_ns = evaluations.began_ns
        if code == 0:
            return result
        if hangs or not strategy.restarts or len(waiting) == left:
            result.flaw = HANG if hangs else last_error(log) or f"exit code {code}"
            return result
        for one in result.strikes:
            if one.struck_ns != UNKNOWN and one.ended_ns == UNKNOWN:
                one.ended_ns = ended_ns
        evaluations.step, evaluations.seen_s = -1, time.monotonic()


def _follow(
    process: subprocess.Popen[bytes],
    evaluations: Evaluations,
    waiting: list[Strike],
    eval_every: int,
    limit_s: float,
    seconds: float,
) -> tuple[int, bool]:
    """Strike the faults that wait; return the exit code of the job, and whether it hung."""
    while (code := process.poll()) is None:
        evaluations.update()
        if waiting and evaluations.step >= waiting[0].fault.interval * eval_every:
            one = waiting.pop(0)
            time.sleep(one.fault.share * evaluations.interval_s)
            struck_ns = time.perf_counter_ns()
            if strike(one.fault, process.pid, seconds):
                one.struck_ns = struck_ns
            evaluations.update()  # what came before the fault
            evaluations.step = -1
        if time.monotonic() - evaluations.seen_s > limit_s:
            return -1, True
        time.sleep(POLL_S)
    return code, False


@contextmanager
def job(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a job whose output is appended to a file; at the end, no process of it is left."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(os.environ),
            start_new_session=True,
        )
    try:
        yield process
    finally:
        for pid in (*rank_processes(process.pid).values(), process.pid):
            with suppress(ProcessLookupError):
                if process.poll() is None:
                    os.kill(pid, signal.SIGKILL)
        process.wait()


def command_of(
    mpirun: str, ranks: int, strategy: Strategy, every: int, training: Sequence[str], place: Path
) -> list[str]:
    """Return the command of the first launch of a run. place: of its result, without .h5."""
    own = [x.format(every=every) for x in strategy.options]
    files = ["--out", str(place.parent), "--name", place.name, "--overwrite"]
    lines = ["--jsonl", f"{place}.jsonl"]
    launch = [mpirun, "-n", str(ranks), *strategy.launcher, sys.executable, "-m", "bench.train"]
    return [*launch, *training, *own, *files, *lines]


def last_error(log: Path) -> str:
    """Return the last line of the program's errors in the output of a job; empty without any."""
    lines = [x for x in log.read_text(errors="replace").splitlines() if x.startswith("error: ")]
    return lines[-1].removeprefix("error: ") if lines else ""
