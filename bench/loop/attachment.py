"""A module attached to an exchange: steps, scores, means and the result of a loop."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from algorithms.exchange.mpi import MPIExchange
from algorithms.wire.memory import RoomError
from algorithms.wire.meter import DATA, OTHER
from bench.common.spec import UserError, expand_path
from bench.loop.meeting import Meeting
from bench.loop.record import Course, End, check_place, write
from bench.loop.row import averaged_buffers, move_out, pieces, trainable
from bench.loop.scores import TRAINING_LOSS, Better, Score, Scoring, copy_with
from bench.loop.settings import Settings
from bench.loop.worker import Closure, LoopWorker
from bench.results.recorder import Recorder
from bench.runtime.evaluation import parameters_sha256, rounding_error
from bench.session.binding import use_threads
from bench.session.clocks import read_clocks
from bench.session.launch import on_all_ranks

if TYPE_CHECKING:
    from mpi4py import MPI


class Attachment:
    """A module, its optimizer and an algorithm that exchanges its parameters; see `attach`.

    All methods but `step`, `pause` and `now` are collective: every rank calls them after the same
    number of steps. A step may exchange, so all ranks take the same steps, too.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        model: torch.nn.Module,
        optimizer: torch.optim.Optimizer,
        settings: Settings,
        samples: int,
        *,
        unused: bool,
    ) -> None:
        options = settings.options
        self._comm, self._model, self._settings = comm, model, settings
        self._parameters = trainable(model, optimizer)
        places, flaws = use_threads(comm, options.threads)
        self._hosts = [str(place["host"]) for place in places]
        self._course = Course(places, flaws, read_clocks(comm, self._hosts))
        self._exchange = MPIExchange(
            comm,
            comm.size,
            allreduce=options.allreduce,
            dtype=options.dtype,
            seed=options.seed,
            trouble=settings.trouble,
            clock=settings.clock(comm.size),
            encoded=bool(options.wire),
        )
        self._aside = MPIExchange(comm, comm.size, dtype=options.dtype)
        self._meeting = Meeting(comm)
        self._worker = LoopWorker(
            comm, self._parameters, optimizer, self._exchange, samples=samples, unused=unused
        )
        for buffer in model.buffers():
            buffer.copy_(comm.bcast(buffer))
        self._algorithm = settings.algorithm
        try:
            self._state: Any = self._algorithm.init(self._exchange, self._worker)
        except RoomError as error:
            raise UserError(str(error)) from None
        if self._exchange.clock:
            self._exchange.clock.reset()  # the algorithm may have exchanged before
        self._exchange.meter.start()
        self._recorder = Recorder(self._exchange.meter)
        self._first = 0
        self._began_ns: int | None = None
        self._own_ns = self._elapsed_ns = 0
        self._scoring: Scoring | None = None
        self._metric, self._better = TRAINING_LOSS, "min"
        self._losses = self._metrics = np.full(comm.size, np.nan)
        self._over = self._closed = False

    @property
    def now(self) -> int:
        """Number of steps taken."""
        return self._first + self._recorder.step_count

    def step(self, closure: Closure) -> float:
        """Take one training step, in the algorithm's own order; return the loss of the minibatch.

        closure: returns the loss of the next minibatch, a tensor of one element; its backward pass
        follows here, unless the closure calls it. The time since the end of the previous step,
        such as that of a loader, is part of the step, as the phase `data`.
        """
        if self._over:
            raise RuntimeError("step() after save(): the run is over; attach the module again")
        meter, worker = self._exchange.meter, self._worker
        if self._began_ns is None:
            if not self._recorder.step_count:
                self._recorder.begin()
            self._began_ns = meter.start()
        meter.lap(DATA)
        self._meeting.begin(self.now)
        worker.use(closure)
        with np.errstate(all="ignore"):
            self._algorithm.step(self._exchange, worker, self._state)
        meter.lap(OTHER)
        self._recorder.step(self._began_ns, worker.losses)
        end_ns = meter.start()
        self._own_ns += end_ns - self._began_ns
        self._began_ns = end_ns
        return float(worker.losses[0])

    def pause(self) -> None:
        """Leave the time until the next step out of the result."""
        self._began_ns = None

    def evaluate(self, score: Score, better: Better = "max") -> dict[str, float]:
        """Score the mean model and every rank's own, record it, and return the scores; collective.

        score: returns a loss, one metric by its name, or both, of a model: {"loss": 0.3,
        "accuracy": 0.9}. It runs in evaluation mode, without gradients, and leaves torch's random
        numbers as they are. better: `max` or `min`, the direction in which the metric improves; a
        loss alone is a metric to minimise. `save` repeats the last evaluation at its end. The time
        is not part of the result.
        """
        self._meet("evaluate()")
        self._scoring = Scoring(score, better)
        return self._evaluate()

    def model_of_the_mean(self) -> torch.nn.Module:
        """Return a copy of the module with the mean of the parameters of all ranks; collective.

        Buffers of floating point, as those of batch norm, are averaged, too; others are this
        rank's. The copy has memory of its own: torch.save(copy.state_dict(), path) saves it.
        """
        self._meet("model_of_the_mean()")
        return self._mean_model()

    def average_buffers(self) -> None:
        """Replace the buffers of floating point by their mean over all ranks; collective.

        Otherwise they stay local to each rank.
        """
        self._meet("average_buffers()")
        means = self._mean_buffers()
        for name, buffer in averaged_buffers(self._model).items():
            buffer.copy_(means[name])

    def save(self, path: str | Path) -> Path:
        """End the run and write its result, replacing an earlier one; collective.

        Exchanges in flight are completed before. Programs such as bench.report read the file.
        Returns its path, with .h5 at its end. Errors: UserError on every rank; where the
        file cannot be written, the run continues, so that another place can be given.
        """
        text = expand_path(str(path))
        place = Path(text if text.endswith(".h5") else f"{text}.h5")
        self._meet("save()")
        if not self.now:
            raise UserError("save() before the first step: call step() in the loop")
        _on_root(self._comm, lambda: check_place(text, place))
        self._algorithm.finish(self._exchange, self._worker, self._state)
        self._over = True
        evals = self._course.evals
        if evals and evals[-1]["step"] == self.now:
            evals.pop()
        scores = self._evaluate()
        x = self._worker.x
        finite = self._comm.allreduce(bool(np.isfinite(x).all()), op=_land())
        end = End(
            self.now,
            x.shape[1],
            parameters_sha256(self._comm, x),
            bool(finite) and not math.isinf(scores["loss"]),
            read_clocks(self._comm, self._hosts),
            self._metric,
            self._better,
            self._losses,
            self._metrics,
            rounding_error(self._comm, x) if self._settings.options.wire else None,
        )
        _on_root(self._comm, lambda: write(place, self._settings, self._course, end))
        return place

    def close(self) -> None:
        """Give the module memory of its own again and release the exchange; collective.

        The end of the script calls it.
        """
        if self._closed:
            return
        self._closed = True
        self._meeting.meet("its end")
        if not self._over:
            self._algorithm.finish(self._exchange, self._worker, self._state)
            self._over = True
        move_out(self._parameters)
        self._worker.close()
        for resource in (self._exchange, self._aside, self._meeting):
            resource.close()

    def _meet(self, place: str) -> None:
        """Meet the other ranks at a call, and end a segment of steps."""
        if self._closed:
            raise RuntimeError(f"{place} after close()")
        self.pause()
        self._meeting.meet(place)
        first, steps = self._first, self._recorder.step_count
        block = self._recorder.gather(self._comm)
        self._first += steps
        if block and steps:
            self._course.blocks.append((block, first))
        self._elapsed_ns += max(self._comm.allgather(self._own_ns))
        if self._exchange.clock:
            self._elapsed_ns = self._exchange.clock.elapsed_ns()
        self._own_ns = 0

    def _mean(self) -> NDArray[np.floating]:
        mean: NDArray[np.floating] = np.empty_like(self._worker.x[0])
        self._aside.mean(self._worker.x, out=mean)
        return mean

    def _mean_buffers(self) -> dict[str, torch.Tensor]:
        own = averaged_buffers(self._model)
        ranks = self._comm.allgather({name: buffer.numpy() for name, buffer in own.items()})
        return {
            name: torch.from_numpy(np.mean([rank[name] for rank in ranks], 0, dtype=np.float64))
            for name in own
        }

    def _mean_model(self) -> torch.nn.Module:
        views = pieces(self._mean(), self._worker.layers)
        means = dict(zip(self._parameters, views, strict=True))
        return copy_with(self._model, means, self._mean_buffers())

    def _evaluate(self) -> dict[str, float]:
        """Return the scores by the names of schema.EVAL and record them; collective."""
        mean, x, comm = self._mean(), self._worker.x, self._comm
        square = float(np.sum((x[0].astype(np.float64) - mean) ** 2))
        if self._scoring is None:
            own = float(self._worker.losses[0])
            gathered = comm.allgather((square, own, own, own, own))
        else:
            scoring, model = self._scoring, self._mean_model()
            own_scores = on_all_ranks(comm, lambda: (scoring(self._model), scoring(model)))
            (self._metric, loss, metric), (_, mean_loss, mean_metric) = own_scores
            self._better = "min" if self._metric == "loss" else scoring.better
            gathered = comm.allgather((square, loss, metric, mean_loss, mean_metric))
        squares, losses, metrics, mean_losses, mean_metrics = np.array(gathered).T
        self._losses, self._metrics = losses, metrics
        worst = metrics.min() if self._better == "max" else metrics.max()
        scores = {
            "loss": float(mean_losses.mean()),
            "metric": float(mean_metrics.mean()),
            "metric_mean": float(metrics.mean()),
            "metric_worst": float(worst),
            "consensus": float(np.sqrt(squares.sum() / comm.size)),
        }
        samples = self.now * self._settings.options.batch * comm.size
        at = {"step": self.now, "samples": samples, "elapsed_ns": self._elapsed_ns}
        since = self._algorithm.since_exchange(self.now, comm.size)
        self._course.evals.append(at | scores | {"since": since})
        return scores


def _land() -> MPI.Op:
    from mpi4py import MPI

    return MPI.LAND


def _on_root(comm: MPI.Intracomm, work: Any) -> None:
    """Call `work` on rank 0; collective. Errors: UserError on every rank if it fails."""

    def attempt() -> None:
        if comm.rank == 0:
            try:
                work()
            except OSError as error:
                raise UserError(f"save(): {error}") from None

    on_all_ranks(comm, attempt)
