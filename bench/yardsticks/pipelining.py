"""torch.distributed.pipelining over gloo as a yardstick of pipelines.

Its schedules GPipe, 1F1B and interleaved 1F1B train the same stages of the same model with the
same numbers of micro-batches; a message is a tensor of gloo. Documentation:
pytorch.org/docs/stable/distributed.pipelining.html.
"""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.common.spec import UserError
from bench.tasks.classifier import Classifier
from bench.tasks.layered import LayeredProblem
from bench.tasks.stages import units

if TYPE_CHECKING:
    from mpi4py import MPI

    from algorithms.pipelines.protocol import Pipeline

SCHEDULES = {
    "gpipe": "ScheduleGPipe",
    "1f1b": "Schedule1F1B",
    "interleaved": "ScheduleInterleaved1F1B",
}
"""Pipeline -> class of torch.distributed.pipelining."""
LR = 0.1


def check(pipeline: Pipeline, name: str, ranks: int, batch: int) -> None:
    """Check that torch has the pipeline. name: in the registry. Errors: UserError."""
    where = f"--against torch --measure {name}"
    if name not in SCHEDULES:
        raise UserError(f"{where}: torch's pipelines over gloo are {', '.join(SCHEDULES)}")
    if pipeline.recompute != "never":
        raise UserError(f"{where}: torch's stages keep their activations: leave recompute out")
    if ranks == 1 or ranks != pipeline.positions:
        raise UserError(
            f"{where}: torch needs a rank for each of {pipeline.positions} positions, got {ranks}: "
            f"launch with `mpirun -n {pipeline.positions}`"
        )
    if batch % pipeline.microbatches:
        raise UserError(
            f"{where}: torch cuts a minibatch into equal parts: give a --batch that is a multiple "
            f"of {pipeline.microbatches} micro-batches, got {batch}"
        )


class TorchPipeline:
    """Steps of the stages of this rank by torch.distributed.pipelining, with plain SGD.

    name: of the pipeline; bounds: (K + 1,) first unit of each stage, and the number of units.
    Stage s is on rank s modulo R, as ours. Construction and `run` are collective; needs gloo_group.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        problem: LayeredProblem,
        shard: NDArray[Any],
        pipeline: Pipeline,
        name: str,
        bounds: Sequence[int],
        batch: int,
    ) -> None:
        from torch.distributed import pipelining

        assert isinstance(problem, Classifier)
        chain = units(problem.build(seed=0))
        own = range(comm.rank, pipeline.stages, comm.size)
        self.modules = {s: torch.nn.Sequential(*chain[bounds[s] : bounds[s + 1]]) for s in own}
        """Stages of this rank."""
        stages = [
            pipelining.PipelineStage(module, s, pipeline.stages, torch.device("cpu"))
            for s, module in self.modules.items()
        ]
        loss = torch.nn.functional.cross_entropy
        build: Any = getattr(pipelining, SCHEDULES[name])
        several = name == "interleaved"
        self._schedule = build(
            stages if several else stages[0], pipeline.microbatches, loss_fn=loss
        )
        parameters = [p for module in self.modules.values() for p in module.parameters()]
        self._optimizer = torch.optim.SGD(parameters, LR)
        self._inputs, self._targets = problem.training(shard)
        self._draws = torch.Generator().manual_seed(0)
        self._batch = batch
        self._first, self._last = comm.rank == 0, pipeline.stages - 1 in own

    def run(self, warm_up: int, steps: int) -> NDArray[np.int64]:
        """Take some steps, and so many timed ones; return their times, (steps,) ns, no update."""
        times = np.zeros(steps, np.int64)
        for step in range(-warm_up, steps):
            self._optimizer.zero_grad()
            began = perf_counter_ns()
            places = torch.randint(len(self._targets), (self._batch,), generator=self._draws)
            inputs = (self._inputs[places],) if self._first else ()
            target = self._targets[places] if self._last else None
            self._schedule.step(*inputs, target=target, return_outputs=False)
            took = perf_counter_ns() - began
            if step >= 0:
                times[step] = took
            self._optimizer.step()
        return times
