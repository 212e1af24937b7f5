"""Drill with ranks killed under --on-death: `python -m tests.drill_adopt 100 0 8`.

Each run is killed a rank after the other at random moments, some of them two at once, until one or
more ranks are left. It must end by itself with exit code 0 and a valid file. Under `adopt` it has
the parameters of an undisturbed run. Under `leave` it has those of a run on one rank that the same
workers leave, the participation that follows from /lost, and the total mass of push-sum. The
arguments: number of kills, seed, number of cases of each policy, and the policies.
"""

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
from mpi4py import MPI

from algorithms.exchange.membership import SHARDS, Leave
from algorithms.wire.placement import Placement
from bench.results.lost import read as read_lost
from bench.results.reader import Run, read
from bench.results.validation import flaws
from bench.runtime.experiment import Experiment
from bench.runtime.options import ADOPT, LEAVE
from bench.runtime.repeat import read_options
from bench.session.starting import rank_processes
from bench.train import train
from tests.launching import DEADLINE_S, command, own_lines
from tests.writers import is_alive, listen

CASES = (
    "allreduce_sgd",
    "local_sgd:period=8 --optimizer sgd:lr=0.1,momentum=0.9",
    "push_sum --workers 13",
    "overlapped_allreduce_sgd --optimizer adam",
    "overlap_push_sum:delay=2 --workers 13",
    "choco_sgd --workers 7 --partition dirichlet:alpha=0.5",
    "gradient_tracking",
    "power_sgd --checkpoint-every 100",
    "relay_sgd --workers 13",
    "lagged_allreduce_sgd --allreduce shared_memory",
    "diloco --controller phases:values=2/8,steps=100",
    "robust_push_sum --drop 0.1 --workers 8",
)
MASS = """from dataclasses import dataclass
import numpy as np
from algorithms.push_sum import PushSum

@dataclass(frozen=True)
class Mass(PushSum):
    def finish(self, exchange, workers, state):
        super().finish(exchange, workers, state)
        mean = exchange.like(state.w, 1)
        exchange.mean(state.w, out=mean)
        assert np.isclose(mean[0], 1, atol=1e-4), f"total mass {mean[0]} a worker"
"""
"""Push-sum that checks at its end that the weights add up to the number of workers."""
RANKS = (2, 3, 4, 6)
STEPS = 500
LONGEST_WAIT_S = 2.0
GONE = re.compile(r"ranks? .* gone at step")


@dataclass
class Outcome:
    """Outcome of one run."""

    case: str
    ranks: int
    kills: int = 0
    flaw: str = ""
    restored_s: list[float] = field(default_factory=list)
    """Seconds from each last kill to the line about the deaths."""
    next_step_s: list[float] = field(default_factory=list)
    """Seconds from each detection to the end of the next steps."""


def arguments(case: str, out: Path, name: str) -> list[str]:
    """Return the command line of a case."""
    line = f"-m bench.train --steps {STEPS} --eval-every 100 --algorithm {case}"
    return [*line.split(), "--out", str(out), "--name", name, "--overwrite"]


def cases(policy: str, out: Path) -> list[str]:
    """Return the command lines of a policy; `leave` refuses controllers, and has the mass too."""
    if policy == ADOPT:
        return list(CASES)
    (out / "mass.py").write_text(MASS)
    return [f"{out}/mass.py:Mass --workers 13", *(x for x in CASES if "--controller" not in x)]


def without(case: str, ranks: int, out: Path, result: Path, shards: str) -> tuple[Run, float]:
    """Train a case as the deaths of a file predict; return it and its participation."""
    workers = [] if "--workers" in case else ["--workers", str(ranks)]
    argv = [*arguments(case, out, "left")[2:], *workers]
    one = Experiment.resolve(read_options(argv), 1)
    first, table = Placement.dealt(one.workers, ranks), read_lost(result)
    back = np.minimum.accumulate(table["back"][::-1])[::-1].tolist() if table else []
    deaths = zip(table["rank"].tolist(), back, strict=True) if table else ()
    departures = [(i, step) for rank, step in deaths for i in first.positions(rank)]
    absent = sum(one.steps - step for _, step in departures)
    one = replace(one, churn=Leave(shards), departures=tuple(departures))
    train(MPI.COMM_SELF, one, [], quiet=True)
    return read(out / "left.h5"), 1 - absent / (one.steps * one.workers)


@cache
def undisturbed(case: str, ranks: int, out: Path) -> Run:
    """Return a case without deaths."""
    workers = [] if "--workers" in case else ["--workers", str(ranks)]
    subprocess.run(
        command(1, *arguments(case, out, "calm"), *workers), check=True, capture_output=True
    )
    return read(out / "calm.h5")


def disturbed(case: str, ranks: int, out: Path, rng: random.Random, policy: str) -> Outcome:
    """Run a case, kill ranks at random moments, and return the outcome."""
    outcome = Outcome(case, ranks)
    folder = Path(tempfile.mkdtemp(dir=out))
    launch = command(ranks, *arguments(case, folder, "x"), "--on-death", policy)
    launch[1:1] = ["--with-ft", "ulfm"]
    launch[launch.index("-m") : launch.index("-m")] = ["-X", "faulthandler"]
    lines: list[tuple[float, str]] = []
    with (folder / "stderr").open("w") as stderr:
        job = subprocess.Popen(launch, stdout=subprocess.PIPE, stderr=stderr, text=True)
    assert job.stdout is not None
    threading.Thread(target=listen, args=(job.stdout, lines), daemon=True).start()
    began = time.time()

    def is_silent() -> bool:
        return time.time() - max([began, *(at for at, _ in lines[-1:])]) > DEADLINE_S

    while not list(folder.glob("x.h5*")) and job.poll() is None and not is_silent():
        time.sleep(0.01)
    pids = list(rank_processes(job.pid).values())
    while len(pids) > 1 and job.poll() is None:
        time.sleep(rng.uniform(0, LONGEST_WAIT_S))
        victims = rng.sample(pids, 2 if len(pids) > 3 and rng.random() < 0.25 else 1)
        before = sum(bool(GONE.match(line)) for _, line in lines)
        killed = time.time()
        for pid in filter(is_alive, victims):
            os.kill(pid, signal.SIGKILL)
            outcome.kills += 1
        pids = [pid for pid in pids if pid not in victims]
        if rng.random() < 0.2:
            continue  # the next death comes during the recovery
        while job.poll() is None and not is_silent():
            news = [at for at, line in lines if GONE.match(line)][before:]
            if news:
                outcome.restored_s.append(news[0] - killed)
                break
            time.sleep(0.01)
    while job.poll() is None and not is_silent():
        time.sleep(0.1)
    code = job.poll()
    if code is None:
        for pid in rank_processes(job.pid).values():
            os.kill(pid, signal.SIGABRT)  # print the stack
        time.sleep(2)
        code = -1
    for pid in filter(is_alive, (job.pid, *rank_processes(job.pid).values())):
        os.kill(pid, signal.SIGKILL)
    text = (folder / "stderr").read_text()
    errors = own_lines(text)[-4:]
    if code:
        outcome.flaw = f"hang: {text[-6000:]}" if code < 0 else f"exit code {code}: {errors}"
        return outcome
    judge(outcome, folder / "x.h5", out, policy)
    return outcome


def judge(outcome: Outcome, result: Path, out: Path, policy: str) -> None:
    """Compare a result with the one that its deaths predict, and take its times."""
    case, ranks = outcome.case, outcome.ranks
    outcome.flaw = "; ".join(flaws(result))
    run = read(result)
    attributes = run.attributes
    if policy == ADOPT:
        expected, share = undisturbed(case, ranks, out), 1.0
    else:
        expected, share = without(case, ranks, out, result, policy.partition("=")[2])
    loss, predicted = (float(one.evals["loss"][-1]) for one in (run, expected))
    if "--allreduce" in case:  # adds in another order on another number of ranks
        if not np.isclose(loss, predicted, rtol=1e-3):
            outcome.flaw += f"loss {loss}, predicted {predicted}"
    elif attributes["parameters_sha256"] != expected.attributes["parameters_sha256"]:
        outcome.flaw += "other parameters"
    if not np.isclose(attributes.get("participation", 1.0), share):
        outcome.flaw += f"participation {attributes['participation']}, predicted {share}"
    if table := read_lost(result):
        outcome.next_step_s = (table["next_step_ns"][table["next_step_ns"] > 0] / 1e9).tolist()


def main() -> int:
    """Run the drill, print one line per run and the counts, and return the exit code."""
    words = sys.argv[1:]
    numbers, policies = [*words[:3], *("20", "0", "8")[len(words) :]], words[3:] or [ADOPT, LEAVE]
    kills, seed, count = (int(x) for x in numbers)
    rng, outcomes = random.Random(seed), list[Outcome]()
    with tempfile.TemporaryDirectory(prefix="adopt-") as folder:
        while sum(x.kills for x in outcomes) < kills:
            number, place = divmod(len(outcomes), len(policies))
            policy = policies[place]
            known = cases(policy, Path(folder))
            case = known[number % min(count, len(known))]
            fate = f"{LEAVE}:shards={rng.choice(SHARDS)}" if policy == LEAVE else policy
            one = disturbed(case, rng.choice(RANKS), Path(folder), rng, fate)
            outcomes.append(one)
            end = one.flaw or "as predicted"
            print(f"{fate}, {one.ranks} ranks, {one.kills} kills, {case}: {end}", flush=True)
    restored = np.array([x for one in outcomes for x in one.restored_s])
    steps = np.array([x for one in outcomes for x in one.next_step_s])
    bad = sum(bool(x.flaw) for x in outcomes)
    total = sum(x.kills for x in outcomes)
    print(f"{total} kills in {len(outcomes)} runs, {bad} bad")
    for name, values in (("kill to restored state", restored), ("detection to next step", steps)):
        if len(values):
            median, p99 = np.percentile(values, [50, 99])
            print(f"{name}: median {median * 1e3:.0f} ms, p99 {p99 * 1e3:.0f} ms")
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
