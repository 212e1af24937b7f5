"""What goes together in a run: its workers, ranks, algorithm, task and trouble."""

from __future__ import annotations

import os
from collections.abc import Mapping

from algorithms import ALGORITHMS
from bench.common.spec import UserError
from bench.runtime.config import Parts, TrainConfig
from bench.session.launch import check_launch


class RefusedError(UserError):
    """An algorithm that cannot serve so many workers, for a reason."""

    def __init__(self, algorithm: str, reason: str) -> None:
        super().__init__(f"algorithm {algorithm}: {reason}")
        self.reason = reason


def check(config: TrainConfig, ranks: int, environment: Mapping[str, str] = os.environ) -> int:
    """The number of workers of a run on so many ranks.

    environment: of the launch; empty for a run that is to be launched elsewhere. Errors: UserError
    where the launch, the algorithm or the trouble does not go with it.
    """
    check_launch(environment, ranks, config.ranks)
    workers = config.workers or ranks
    if workers < ranks:
        raise UserError(
            f"--workers must be at least the number of ranks, {ranks}, got {workers}: every rank "
            "hosts one or more"
        )
    check_trouble(config, workers)
    parts = config.parts()
    if parts.algorithm.needs.asynchronous:
        check_asynchronous(config, parts, workers, ranks)
    try:
        parts.algorithm.check(workers)
    except ValueError as error:
        raise RefusedError(config.algorithm, str(error)) from None
    return workers


def check_asynchronous(config: TrainConfig, parts: Parts, workers: int, ranks: int) -> None:
    """Refuse what workers that do not wait for each other cannot have. Errors: UserError."""
    if parts.task.needs.shares_statistics:
        raise UserError(
            f"--task {config.task}: workers that share statistics wait for each other, and those "
            f"of {config.algorithm} must not: take group=0, or an algorithm that is synchronous"
        )
    if config.link and workers > ranks:
        raise UserError(
            f"--link: workers of {config.algorithm} that share a rank would wait for each other's "
            f"links: launch with `mpirun -n {workers}`, or leave --link out"
        )


def check_trouble(config: TrainConfig, total: int) -> None:
    """Refuse trouble that the algorithm cannot bear. Errors: UserError."""
    straggler = config.trouble().straggler
    if straggler and straggler.worker is not None and straggler.worker >= total:
        raise UserError(
            f"--straggler worker must be below the number of workers, {total}, got "
            f"{straggler.worker}"
        )
    if config.drop and not config.parts().algorithm.needs.bears_loss:
        bear = [name for name, x in ALGORITHMS.items() if x.needs.bears_loss]
        name = config.algorithm.partition(":")[0]
        raise UserError(
            f"--drop {config.drop:g}: {name} cannot go on without a message; those that can are "
            f"{', '.join(bear)}"
        )
