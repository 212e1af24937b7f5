"""What a user should know before the first step."""

from __future__ import annotations

from algorithms.exchange.mpi import MPIExchange
from bench.runtime.separation import Separation
from bench.runtime.setup import Material, Plan


def introduction(
    made: Plan,
    data: Material,
    separation: Separation,
    exchange: MPIExchange,
    ranks: int,
    flaws: list[str],
) -> list[str]:
    """The lines: what runs, how the data are separated, what is unusual."""
    config, sizes, texts = made.config, data.skew.sizes, made.parts.texts()
    lines = []
    if made.resumed:
        lines.append(
            f"going on at step {made.resumed.about.step} of {config.steps}, attempt "
            f"{made.resumed.attempt}, from {made.resumed.checkpoint}"
        )
    lines += [f"note: {note}" for note in made.notes]
    lines += [
        f"{texts['task']}, {data.problem.d:,} parameters, {texts['algorithm']}, "
        f"{texts['optimizer']}, batch {config.batch}: {made.workers} workers on {ranks} ranks",
        *separation.told(texts["partition"]),
    ]
    small = int(sizes.min())
    if config.batch > small:
        lines.append(
            f"note: batch {config.batch} is larger than the smallest shard, {small} sample(s) of "
            f"worker {int(sizes.argmin())}: its batches repeat samples"
        )
    for nbytes, plan in exchange.chosen.items():
        how = "remembered" if plan.remembered else "measured just now"
        lines.append(f"auto takes {plan.chosen} for vectors of {nbytes:,} B ({how})")
    if separation.spectral_gap is not None:
        lines.append(
            f"spectral gap of the topology at {made.workers:,} workers: "
            f"{separation.spectral_gap:.4g}"
        )
    troubles = ("straggler", "drop", "link")
    said = [f"--{name} {x}" for name in troubles if (x := getattr(config, name))]
    lines += [f"trouble on purpose: {', '.join(said)}"] if said else []
    return lines + [f"note: {flaw}" for flaw in flaws]
