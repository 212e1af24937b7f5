"""Options of bench.chaos, and the strategies that it compares."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bench.chaos.faults import KINDS
from bench.common.options import Table, check_name, check_ranges, option
from bench.common.spec import UserError, require_new_name, unknown_name

PROGRAM = "bench.chaos"
CALM = "calm"


@dataclass(frozen=True)
class Strategy:
    """Way of a training run to outlast faults."""

    about: str
    launcher: tuple[str, ...] = ()
    """Arguments of mpirun."""
    options: tuple[str, ...] = ()
    """Options of bench.train; {every} is --checkpoint-every of bench.chaos."""
    restarts: bool = False
    """True if the job is launched again, with --resume, when a fault has ended it."""


STRATEGIES = {
    CALM: Strategy("no faults: the yardstick"),
    "adopt": Strategy(
        "the other ranks take over the workers of a dead one, from copies in memory",
        launcher=("--with-ft", "ulfm"),
        options=("--on-death", "adopt"),
    ),
    "leave": Strategy(
        "the workers of a dead rank are gone, and the others go on",
        launcher=("--with-ft", "ulfm"),
        options=("--on-death", "leave"),
    ),
    "restart": Strategy(
        "the job ends, and is launched again from the last checkpoint on disk",
        options=("--checkpoint-every", "{every}"),
        restarts=True,
    ),
}
"""Strategies by name; CALM is always run, first."""


@dataclass(frozen=True)
class Options:
    """The options of bench.chaos."""

    ranks: int = option(4, "ranks of every launch, on this host", "N", least=2)
    plans: int = option(5, "plans of faults; each strategy runs under each of them", "N", least=1)
    faults: int = option(2, "faults of a plan, each on another rank", "N", least=1)
    kinds: str = option("kill", f"kinds of faults to draw from: {', '.join(KINDS)}", "KIND[,KIND]")
    strategies: str = option(
        ",".join(x for x in STRATEGIES if x != CALM),
        "strategies beside calm, the run without faults",
        "NAME[,NAME]",
    )
    checkpoint_every: int = option(100, "steps between checkpoints of restart", "N", least=1)
    seconds: int = option(5, "duration of faults that pass", "S", least=1)
    limit: int = option(
        600, "seconds without an evaluation after which a launch counts as a hang", "S", least=1
    )
    seed: int = option(0, "seed of the plans", "S", least=0)
    out: str = option("runs", "folder of the result file", "DIR")
    name: str = option("", "name of the result file, without .h5", "NAME")
    overwrite: bool = option(False, "replace a result of the same name")

    def __post_init__(self) -> None:
        check_ranges(self)
        check_name(self.name)
        self.chosen_kinds()
        self.chosen_strategies()
        if self.faults >= self.ranks:
            raise UserError(
                f"--faults must be below --ranks, {self.ranks}, got {self.faults}: every fault "
                "strikes another rank, and one is left"
            )

    def chosen_kinds(self) -> list[str]:
        """Return the kinds of faults. Errors: UserError."""
        return _names("kinds", "kind of fault", self.kinds, KINDS)

    def chosen_strategies(self) -> dict[str, Strategy]:
        """Return the strategies by name, calm first. Errors: UserError."""
        names = _names("strategies", "strategy", self.strategies, STRATEGIES)
        return {x: STRATEGIES[x] for x in dict.fromkeys([CALM, *names])}


def _names(option: str, what: str, text: str, known: Collection[str]) -> list[str]:
    """Return the names between commas. Errors: UserError for an unknown or a second one."""
    names: list[str] = []
    for name in text.split(","):
        if name not in known:
            raise unknown_name(what, name, known)
        require_new_name(f"--{option}", name, names, 64)
        names.append(name)
    return names


def split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the options of bench.chaos, and those of bench.train after `--`."""
    words = list(argv)
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


TABLE = Table(
    Options,
    prog="python -m bench.chaos",
    description="Train one experiment under the same drawn faults with every strategy and without "
    "faults, and compare useful steps and time, recovery and the final metric. Start it without "
    "mpirun, which it launches itself. The options of bench.train stand after `--`.",
    epilog="Strategies: "
    + "; ".join(f"{name}: {x.about}" for name, x in STRATEGIES.items())
    + ". Faults: "
    + "; ".join(f"{name}: {about}" for name, about in KINDS.items())
    + ". Example: python -m bench.chaos --plans 5 --faults 2 -- --task digits "
    "--steps 2000 --eval-every 100. Exit code: 0; 1 where a run did not end well; 2 for a "
    "mistake, reported before the first launch.",
)
