"""Search the order of shards on a topology before training: `python -m bench.place`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.common.files import check_target, write_whole
from bench.common.options import Table, check_ranges, option, same
from bench.common.spec import UserError
from bench.common.text import counted, printable
from bench.runtime.options import TrainOptions
from bench.session import launch

if TYPE_CHECKING:
    import numpy as np
    from mpi4py import MPI
    from numpy.typing import NDArray

    from bench.place.search import Order, Placement, Round
    from bench.runtime.experiment import Experiment
    from bench.runtime.setup import Material

RANDOM = 100
"""Number of random orders that the result is compared with."""
MOST_WORKERS = 1024
"""Maximum number of workers, whose mixing matrices are dense."""
SAVED = ("hops", "rounds", "moves")
"""Options of the search."""
OWN = (*SAVED, "owners", "json")
"""Options that bench.train does not have."""


@dataclass(frozen=True)
class Options:
    """The options of bench.place: those of bench.train that separate the data, and the search."""

    task: str = same(TrainOptions, "task")
    data: str = same(TrainOptions, "data")
    partition: str = same(TrainOptions, "partition")
    algorithm: str = option("d_psgd", "algorithm with a topology", "NAME[:KEY=VALUE,...]")
    seed: int = same(TrainOptions, "seed")
    dtype: str = same(TrainOptions, "dtype")
    workers: int = option(16, "workers in all", "W", least=2)
    hops: int = option(2, "rounds of mixing that make a neighbourhood", "N", least=1)
    rounds: int = option(40, "rounds of the search, each with its noise and restart", "N", least=1)
    moves: int = option(4, "moves of a round, per worker", "N", least=1)
    owners: str = option("", "write the worker of each sample, for --partition file:path=", "FILE")
    json: str = option("", "write order, costs and rounds", "FILE")

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.workers > MOST_WORKERS:
            raise UserError(
                f"--workers must be at most {MOST_WORKERS} here, got {self.workers}: the search "
                "compares dense mixing matrices"
            )

    @property
    def training(self) -> TrainOptions:
        """The options of the run whose shards are placed."""
        names = {x.name for x in fields(self)} - set(OWN)
        return TrainOptions(**{name: getattr(self, name) for name in names})

    @property
    def files(self) -> dict[str, Path]:
        """The files to write, by option."""
        names = {"--owners": self.owners, "--json": self.json}
        return {option: Path(name) for option, name in names.items() if name}


TABLE = Table(
    Options,
    prog="python -m bench.place",
    description="Search the order of the shards on the positions of a topology in which "
    "neighbourhoods have the least label skew, by stochastic local search with noise and restarts "
    "chosen by Thompson sampling (PolyTS). Nothing is trained.",
    epilog="Example: python -m bench.place --partition dirichlet:alpha=0.1 --algorithm "
    "d_psgd:topology=ring --owners owners.txt; then bench.train --partition file:path=owners.txt "
    "with the same task, seed and number of workers.",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    return launch.main(argv, TABLE.parser, lambda comm, arguments, _: place(comm, arguments))


def place(comm: MPI.Intracomm, argv: Sequence[str]) -> None:
    """Search on rank 0 and print the result; collective. Errors: UserError on every rank."""
    from bench.runtime import setup

    options = launch.on_all_ranks(comm, lambda: TABLE.read(argv))
    experiment = launch.on_all_ranks(comm, lambda: _checked(options, comm.size))
    launch.on_all_ranks(comm, lambda: _check_files(options.files) if comm.rank == 0 else None)
    data = setup.material(comm, experiment)
    launch.on_all_ranks(comm, lambda: _check_owners(options, data))
    mixing = _mixing(comm, experiment, options.hops)
    if comm.rank == 0:
        _search(options, experiment, data, mixing)


def _checked(options: Options, ranks: int) -> Experiment:
    """Return the experiment whose shards are placed. Errors: UserError."""
    from bench.runtime.experiment import Experiment
    from bench.runtime.separation import gossip

    launch.check_launch(os.environ, ranks, 0)
    experiment = Experiment.resolve(options.training, ranks)
    experiment.check()
    if gossip(experiment.algorithm)[0] is None:
        raise UserError(
            f"--algorithm {options.algorithm} has no topology, so that every order of the shards "
            "is the same to it: take d_psgd or push_sum"
        )
    if experiment.partition.needs.alters:
        raise UserError(
            f"--partition {options.partition} alters the samples of each worker, which a file of "
            "owners cannot hold: place the shards of its base"
        )
    return experiment


def _check_files(files: dict[str, Path]) -> None:
    for name, path in files.items():
        check_target(name, path)


def _mixing(comm: MPI.Intracomm, experiment: Experiment, hops: int) -> NDArray[np.float64]:
    """Return the mixing of `hops` rounds from each round of a period on, (K, W, W); collective.

    Its rows sum to one, as the means of push-sum do.
    """
    import numpy as np

    from algorithms.exchange.mpi import MPIExchange
    from bench.runtime.separation import ROUNDS, gossip

    topology, rule = gossip(experiment.algorithm)
    assert topology is not None, "checked before"
    W = experiment.workers
    period = min(topology.period(W) or ROUNDS, ROUNDS)
    with launch.closing(MPIExchange(comm, W, seed=experiment.options.seed)) as exchange:
        try:
            each = [exchange.mixing(topology, rule, k).matrix() for k in range(period + hops)]
        except ValueError as error:
            raise UserError(f"--algorithm {experiment.options.algorithm}: {error}") from None
    result = []
    for k in range(period):
        matrix = np.eye(W)
        for P in each[k : k + hops]:
            matrix = P @ matrix
        result.append(matrix / matrix.sum(1, keepdims=True))
    return np.array(result)


@dataclass(frozen=True)
class Outcome:
    """Result of a search."""

    placement: Placement
    orders: dict[str, Order]
    """Orders that are compared, by name; the last one is the result."""
    rounds: list[Round]
    optimum: float | None
    """Smallest cost of all orders; None with too many of them."""

    def lines(self) -> list[str]:
        """Return the lines to print."""
        lines = [f"{'order of the shards':<24}{'mean':>10}{'worst worker':>14}"]
        for name, order in self.orders.items():
            skews = self.placement.skews(order)
            lines.append(f"{name:<24}{skews.mean():>10.4f}{skews.max():>14.4f}")
        if self.optimum is not None:
            lines.append(f"{'best of all orders':<24}{self.optimum:>10.4f}")
        best, last = min(self.rounds, key=lambda x: x.cost), self.rounds[-1]
        return [
            *lines,
            f"{counted(len(self.rounds), 'round')}; the best one had noise {best.noise:g} and a "
            f"restart after {counted(best.restart, 'move')} without success, the last one "
            f"{last.noise:g} and {counted(last.restart, 'move')}",
        ]

    def record(self) -> dict[str, Any]:
        """Return the result for JSON; `order` has the shard at each position."""
        skews = {name: self.placement.skews(order) for name, order in self.orders.items()}
        return {
            "order": self.orders[FOUND].tolist(),
            "skew": {
                name: {"mean": x.mean(), "worst": x.max(), "workers": x.tolist()}
                for name, x in skews.items()
            },
            "optimum": self.optimum,
            "search": [asdict(x) for x in self.rounds],
        }


FOUND = "found"
"""Name of the order that the search returns."""
STREAM = 0x91ACE
"""Stream of the draws of the search, apart from others of the same seed."""


def _search(
    options: Options, experiment: Experiment, data: Material, mixing: NDArray[np.float64]
) -> None:
    """Search, print and write the result. Errors: UserError."""
    import numpy as np
    from rich.console import Console

    from bench.place.search import ENUMERATED, Placement, search
    from partitions.skew import label_shares

    shares, _ = label_shares(data.skew.counts)
    placement = Placement(mixing, shares)
    W, rng = placement.workers, np.random.default_rng((options.seed, STREAM))
    chance = sorted((rng.permutation(W) for _ in range(RANDOM)), key=placement.cost)
    results = list(search(placement, options.rounds, options.moves * W, rng))
    _, order = results[-1]
    orders = {"as given": np.arange(W), f"median of {RANDOM} random": chance[RANDOM // 2]}
    optimum = placement.optimum() if W <= ENUMERATED else None
    outcome = Outcome(placement, orders | {FOUND: order}, [x for x, _ in results], optimum)
    texts = experiment.texts
    about = (
        f"{texts['task']}, {texts['partition']}, {counted(W, 'worker')}, {texts['algorithm']}: "
        f"total variation between the labels within {counted(options.hops, 'round')} of mixing "
        "and those of all workers"
    )
    if options.json:
        plain = {name: getattr(options, name) for name in (*SAVED, "workers", "seed")}
        record = texts | plain | outcome.record()
        write_whole(Path(options.json), json.dumps(record, indent=1) + "\n")
    if options.owners:
        owners = _owners(data, order)
        write_whole(Path(options.owners), "\n".join(map(str, owners.tolist())) + "\n")
    console = Console(highlight=False, emoji=False)
    for line in [about, *outcome.lines(), *(f"wrote {x}" for x in options.files.values())]:
        console.print(printable(line), markup=False, soft_wrap=True)


def _owners(data: Material, order: Order) -> NDArray[np.int64]:
    """Return the position of the shard of each sample, (n,)."""
    import numpy as np

    owners = np.full(data.problem.samples.size, -1)
    for position, shard in enumerate(order):
        owners[data.shards[shard]] = position
    return owners


def _check_owners(options: Options, data: Material) -> None:
    """Refuse shards that a file of owners cannot hold. Errors: UserError."""
    if options.owners and sum(map(len, data.shards)) != data.problem.samples.size:
        raise UserError(
            f"--owners: --partition {options.partition} does not give each sample to one worker, "
            "as a file of owners does: take another partition, or --json alone"
        )


if __name__ == "__main__":
    sys.exit(main())
