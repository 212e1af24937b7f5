"""Checks of an algorithm on the ranks of a launch: workers, placement, checkpoints, loss, mean."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from algorithms.exchange.mpi import MPIExchange
from algorithms.protocol import Layer, Ready, Workers
from bench.check.findings import FAILS, NOTE, OK, Finding, judged
from bench.common.text import counted
from bench.runtime import setup, start
from bench.runtime.checkpoint.checkpoints import restore_training, roots
from bench.runtime.checkpoint.saving import read_checked, save
from bench.runtime.checkpoint.state import state
from bench.runtime.evaluation import parameters_sha256
from bench.runtime.experiment import Experiment
from bench.runtime.options import TrainOptions

if TYPE_CHECKING:
    from mpi4py import MPI

TOTALS = (1, 2, 3, 4, 5, 7, 8, 12, 16)
"""Numbers of workers: one, primes, powers of two, and one that is neither."""
BEFORE, STEPS = 5, 11
"""Steps before a checkpoint, and in all."""
ROUNDS, DIMENSION = 6, 5
"""Steps and parameters of workers that stand still."""
DROP = 0.2
TOLERANCE = 1e-9
"""Relative movement of a mean that counts as rounding, in float64."""


class Trained:
    """Workers of the quadratic task, each with samples of one label; collective."""

    def __init__(self, comm: MPI.Intracomm, spec: str, total: int, **options: Any) -> None:
        chosen: dict[str, Any] = {"task": "quadratic:dimension=7,samples=240", "batch": 4}
        chosen |= {"partition": "shards:per_worker=1", "seed": 3} | options
        table = TrainOptions(algorithm=spec, workers=total, **chosen)
        self.comm, experiment = comm, Experiment.resolve(table, comm.size)
        self.algorithm = experiment.algorithm
        data = setup.material(comm, experiment)
        self.exchange, self.workers = start.workers(comm, experiment, data)
        self.state = start.initial_state(experiment, self.exchange, self.workers)

    def walk(self, steps: int) -> None:
        """Take some steps."""
        for _ in range(steps):
            self.algorithm.step(self.exchange, self.workers, self.state)

    def end(self) -> str:
        """Complete the exchanges and return the SHA-256 of all parameters, the same on every rank.

        Empty if a parameter is NaN or infinite.
        """
        self.algorithm.finish(self.exchange, self.workers, self.state)
        digest = self.comm.bcast(parameters_sha256(self.comm, self.workers.x))
        finite = all(self.comm.allgather(bool(np.isfinite(self.workers.x).all())))
        self.exchange.close()
        return str(digest) if finite else ""


def _whole(comm: MPI.Intracomm, spec: str, total: int, **options: Any) -> str:
    """Return the digest of a training without interruption; collective."""
    training = Trained(comm, spec, total, **options)
    training.walk(STEPS)
    return training.end()


@contextmanager
def _first(comm: MPI.Intracomm, size: int) -> Iterator[MPI.Intracomm | None]:
    """Return a communicator of the first ranks; None on the others, which wait at the end."""
    from mpi4py import MPI

    part = comm.Split(0 if comm.rank < size else MPI.UNDEFINED, comm.rank)
    yield None if part == MPI.COMM_NULL else part  # type: ignore[misc]
    if part != MPI.COMM_NULL:
        part.Free()
    comm.Barrier()


def findings(comm: MPI.Intracomm, spec: str, algorithm: Any) -> Iterator[Finding]:
    """Yield the findings of an algorithm, the same on every rank; collective."""
    totals, refusals = [], []
    for total in TOTALS:
        try:
            algorithm.check(total)
            totals.append(total)
        except ValueError as error:
            refusals.append(f"{total} ({error})")
    if refusals:
        yield Finding(NOTE, "workers", f"refuses {'; '.join(refusals)}")
    if algorithm.needs.asynchronous:
        yield from _asynchronous(comm, spec, totals)
        return
    alone = _alone(comm, spec, totals)
    bad = [str(total) for total, digest in alone.items() if not digest]
    text = f"{STEPS} steps at {', '.join(map(str, totals))} workers are finite"
    yield judged(not bad, "workers", text, f"NaN or infinity at {', '.join(bad)} workers")
    yield _placement(comm, spec, alone)
    if not bad:
        yield comm.bcast(rows(spec, totals[-1], alone[totals[-1]]))
    able = [total for total in totals if total >= comm.size]
    if able:
        yield _checkpoint(comm, spec, able[len(able) // 2], alone)
    if algorithm.needs.bears_loss:
        digest = comm.bcast(_whole(_self(), spec, totals[-1], drop=DROP))
        text = f"{DROP:.0%} of the messages lost at {totals[-1]} workers: parameters are finite"
        yield judged(digest, "loss", text, f"NaN or infinity with {DROP:.0%} of messages lost")
    if algorithm.needs.conserves:
        yield comm.bcast(conservation(algorithm, totals))
    yield comm.bcast(_mean(algorithm, totals))


def _self() -> MPI.Intracomm:
    from mpi4py import MPI

    return MPI.COMM_SELF


def _alone(comm: MPI.Intracomm, spec: str, totals: Sequence[int]) -> dict[int, str]:
    """Return the digest of each number of workers on one rank; every rank plays some."""
    own = {total: _whole(_self(), spec, total) for total in totals[comm.rank :: comm.size]}
    parts = comm.allgather(own)
    return {total: part[total] for total in totals for part in parts if total in part}


def _placement(comm: MPI.Intracomm, spec: str, alone: dict[int, str]) -> Finding:
    """Compare all numbers of ranks with one rank."""
    wrong, sizes = [], list(range(2, comm.size + 1))
    for size in sizes:
        totals = [total for total in alone if total >= size]
        digests: dict[int, str] = {}
        with _first(comm, size) as part:
            if part is not None:
                digests = {total: _whole(part, spec, total) for total in totals}
        digests = comm.bcast(digests)
        wrong += [f"{x} workers on {size} ranks" for x in totals if digests[x] != alone[x]]
    if not sizes:
        return Finding(NOTE, "placement", "not checked on one rank: give --ranks 4")
    text = f"the same bits on 1, {', '.join(map(str, sizes))} ranks"
    return judged(not wrong, "placement", text, f"other bits than on one rank: {', '.join(wrong)}")


class TorchWorkers:
    """Workers with rows in tensors, on the memory of other workers, which compute for them."""

    def __init__(self, workers: Workers, x: Any, g: Any) -> None:
        self.ids, self.total, self.samples = workers.ids, workers.total, workers.samples
        self.layers, self.gradient, self.update = workers.layers, workers.gradient, workers.update
        self.step, self.x, self.g = workers.step, x, g


def rows(spec: str, total: int, digest: str) -> Finding:
    """Take the steps on one rank with rows in tensors, which refuse NumPy's functions.

    digest: that of the same steps with rows of NumPy.
    """
    import torch

    from bench.device.exchange import TorchExchange
    from bench.device.rows import TorchRows

    training = Trained(_self(), spec, total)
    plain, algorithm = training.workers, training.algorithm
    seed, cpu = training.exchange.seed, torch.device("cpu")
    exchange = TorchExchange(_self(), total, device=cpu, dtype="float32", seed=seed)
    x, g = (TorchRows(torch.from_numpy(each)) for each in (plain.x, plain.g))
    workers: Any = TorchWorkers(plain, x, g)
    try:
        state = algorithm.init(exchange, workers)
        for _ in range(STEPS):
            algorithm.step(exchange, workers, state)
        algorithm.finish(exchange, workers, state)
    except (TypeError, AttributeError) as error:
        return Finding(NOTE, "rows", f"only those of NumPy's memory: {error}")
    same = parameters_sha256(_self(), plain.x) == digest
    for each in (exchange, training.exchange):
        each.close()
    text = "in place, on buffers of the exchange: the same bits on rows in tensors (--device)"
    return judged(same, "rows", text, "other bits on rows in tensors, as those of --device")


def _checkpoint(comm: MPI.Intracomm, spec: str, total: int, alone: dict[int, str]) -> Finding:
    """Stop and continue a training on the same ranks, and on one rank."""
    training = Trained(comm, spec, total)
    training.walk(BEFORE)
    entries: dict[str, Any] = {"step": BEFORE, "elapsed_ns": 1, "workers": total, "hash": "0"}
    entries |= {"params": {}, "run_uuid": "1"}
    objects = roots(training.exchange, training.workers, training.state)
    try:
        state(objects)
    except TypeError as error:
        training.end()
        return Finding(FAILS, "checkpoint", f"the State cannot be stored: {error}")
    folder = comm.bcast(tempfile.mkdtemp(prefix="check-") if comm.rank == 0 else "")
    place = save(comm, Path(folder) / "run.h5", objects, {}, entries)
    training.walk(STEPS - BEFORE)
    digests = {"a checkpoint changes the run that writes it": training.end()}
    for name, ranks in (("the same ranks", comm), ("one rank", _self())):
        again = Trained(ranks, spec, total)
        manifest = read_checked(ranks, place)
        restore_training(ranks, place, manifest, again.exchange, again.workers, again.state)
        again.walk(STEPS - BEFORE)
        digests[f"a run that continues on {name} differs"] = again.end()
    comm.Barrier()
    if comm.rank == 0:
        shutil.rmtree(folder)
    wrong = [name for name, digest in digests.items() if digest != alone[total]]
    text = f"{total} workers continue with the same bits on {comm.size} ranks and on one"
    return judged(not wrong, "checkpoint", text, "; ".join(wrong))


def _asynchronous(comm: MPI.Intracomm, spec: str, totals: Sequence[int]) -> Iterator[Finding]:
    """Yield the findings of an algorithm whose numbers depend on the pace of the ranks."""
    able = [total for total in totals if total >= comm.size]
    digests = {total: _whole(comm, spec, total) for total in able}
    bad = [str(total) for total, digest in digests.items() if not digest]
    text = f"{STEPS} steps at {', '.join(map(str, able))} workers are finite"
    yield judged(not bad, "workers", text, f"NaN or infinity at {', '.join(bad)} workers")
    yield Finding(NOTE, "placement", "not checked: workers take steps at their own pace")


class Standing(Workers):
    """Workers at different points, without gradients: the exchange alone changes x."""

    def __init__(self, exchange: MPIExchange) -> None:
        self.ids, self.total = exchange.ids, exchange.total
        self.x, self.g = exchange.rows(DIMENSION), exchange.rows(DIMENSION)
        self.x[:] = np.random.default_rng(1).normal(size=self.x.shape)
        self.samples = np.ones(self.total, np.int64)
        self.layers: Sequence[Layer] = [Layer(0, DIMENSION, (DIMENSION,))]

    def gradient(self, ready: Ready | None = None) -> NDArray[np.floating]:
        """Set g to zero and return losses of zero, (V,)."""
        self.g[:] = 0
        if ready:
            ready(0, DIMENSION)
        return np.zeros(len(self.x))

    def update(self) -> None:
        """Leave x unchanged."""


def conservation(algorithm: Any, totals: Sequence[int]) -> Finding:
    """Verify that exchanges keep the sum that the algorithm declares, at gradients of zero."""
    declared, subject = algorithm.needs.conserves, "conserved"
    bad = []
    for total in totals:
        exchange = MPIExchange(_self(), total, dtype="float64", seed=3)
        workers: Any = Standing(exchange)
        own = algorithm.init(exchange, workers)
        size = total * np.abs(workers.x).max()
        try:
            before = _sum_of(declared, workers.x, own)
        except (KeyError, ValueError) as error:
            text = f"declares {declared!r}: {error} is no field of the State with parameters"
            return Finding(FAILS, subject, text)
        for _ in range(ROUNDS * max(1, algorithm.exchange_interval(total))):
            algorithm.step(exchange, workers, own)
        algorithm.finish(exchange, workers, own)
        moved = np.abs(_sum_of(declared, workers.x, own) - before).max() / size
        exchange.close()
        if not moved < TOLERANCE:
            bad.append(f"by {moved:.2g} of its size at {counted(total, 'worker')}")
    text = f"exchanges keep the sum of {declared} over all workers"
    return judged(not bad, subject, text, f"exchanges move the sum of {declared} {', '.join(bad)}")


def _sum_of(declared: str, x: NDArray[Any], state: Any) -> NDArray[np.float64]:
    """Return the sum over the workers of x and of fields of the State, (d,).

    declared: `x + centre`. Rows, (V, d), are added up; a vector, (d,), which is the same on every
    rank, counts once. Errors: KeyError for an unknown field, ValueError for one of another length.
    """
    total = np.zeros(x.shape[1])
    for name in declared.split(" + "):
        part = np.asarray(x if name == "x" else vars(state)[name])
        if part.shape[-1:] != total.shape:
            raise ValueError(repr(name))
        total += part.reshape(-1, len(total)).sum(0)
    return total


def _mean(algorithm: Any, totals: Sequence[int]) -> Finding:
    """Report whether exchanges keep the mean of x over the workers, and bring them together."""
    total = totals[-1]
    exchange = MPIExchange(_self(), total, dtype="float64", seed=3)
    workers: Any = Standing(exchange)
    mean, spread = workers.x.mean(0), workers.x.std(0).max()
    interval = algorithm.exchange_interval(total)
    own = algorithm.init(exchange, workers)
    for _ in range(ROUNDS * max(1, interval)):
        algorithm.step(exchange, workers, own)
    algorithm.finish(exchange, workers, own)
    moved = float(np.abs(workers.x.mean(0) - mean).max() / spread)
    left = float(workers.x.std(0).max() / spread)
    exchange.close()
    text = f"distance of {total} workers after {ROUNDS} exchanges: {left:.2g} of the start"
    if moved < TOLERANCE:
        return Finding(OK, "mean", f"exchanges keep it; {text}")
    return Finding(NOTE, "mean", f"exchanges move it by {moved:.2g} of the distance; {text}")
