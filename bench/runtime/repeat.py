"""Repetition of the run in a result file, and its comparison with the original."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.common.options import flag
from bench.common.spec import UserError
from bench.results import provenance
from bench.results.environment import INSTRUCTIONS, THREADS, Arithmetic
from bench.results.reader import BrokenFileError, Run, read
from bench.runtime import identity
from bench.runtime.experiment import Experiment
from bench.runtime.identity import Change
from bench.runtime.options import LOOP, STEP, TABLE, TrainOptions, two_lengths

VARIABLE = ("load", "kernel", "cores")
"""Properties of a machine that leave the numbers unchanged."""


def load(path: Path) -> Run:
    """Read the run of a file. Errors: UserError."""
    try:
        return read(path)
    except BrokenFileError as error:
        raise UserError(f"--repeat {error}") from None


def read_options(argv: Sequence[str]) -> TrainOptions:
    """Return the options of a command line; with --repeat, those of the result file it names.

    Errors: UserError, also where the file cannot be read or has options unknown to this suite.
    """
    values = TABLE.values(TABLE.texts(argv))
    if values.get("epochs") and "steps" in values:
        raise two_lengths(values["epochs"], values["steps"])
    if values.get("repeat"):
        check_only_aside(values["repeat"], values)
        values = settings(Path(values["repeat"])) | values
    return TrainOptions(**values)


def settings(path: Path) -> dict[str, Any]:
    """Return the options that decide the numbers of the run in a file, by name, and its ranks.

    Errors: UserError where the file cannot be read or has options unknown to this suite.
    """
    run = load(path)
    if LOOP in run.params.get("sources", {}):
        raise UserError(
            f"--repeat {path}: the run is of a loop of one's own: start its script "
            f"{run.attributes['task']} again"
        )
    if run.attributes.get("ranks_lost") and run.attributes.get("participation", 1.0) < 1:
        raise UserError(
            f"--repeat {path}: workers left the run with their ranks, whose deaths are not "
            "repeated: give its options by themselves"
        )
    names = {name for name, entry in TABLE.entries.items() if not entry.metadata["aside"]}
    strange = run.params.keys() - names - {"options", "sources"}
    if strange:
        raise UserError(
            f"--repeat {path}: its option {min(strange)!r} is unknown to this suite: the file was "
            f"written by version {run.attributes.get('suite_version', '?')}, use that version"
        )
    values = {name: value for name, value in run.params.items() if name in names}
    return {"eval_at": STEP} | values | {"ranks": int(run.attributes["ranks"])}


def check_only_aside(path: str, values: Mapping[str, Any]) -> None:
    """Check that the options beside --repeat keep the experiment as it is. Errors: UserError."""
    entries = TABLE.entries
    other = [name for name in values if not entries[name].metadata["aside"] or name == "ranks"]
    if other:
        raise UserError(
            f"--repeat {path} repeats the run exactly: leave {flag(other[0])} out, or give "
            "all options by themselves"
        )


def free_name(path: Path, out: Path) -> str:
    """Return the first free name in `out` for the repetition of a file: NAME-2, NAME-3, ..."""
    stem, number = path.name.removesuffix(".part").removesuffix(".h5"), 2
    while any((out / f"{stem}-{number}.h5{end}").exists() for end in ("", ".part")):
        number += 1
    return f"{stem}-{number}"


def original_run(experiment: Experiment, ranks: Sequence[Mapping[str, Any]]) -> Run | None:
    """Return the run to repeat, None without --repeat; ranks: as use_threads returns them.

    Errors: UserError for another number of threads, or other inputs.
    """
    name = experiment.options.repeat
    if not name:
        return None
    run = load(Path(name))
    for change in identity.changes(run.arithmetic(), identity.arithmetic_of(ranks)):
        if change.name == THREADS:
            raise UserError(f"--repeat {run.path}: {change}: {change.remedy}")
    files = identity.inputs(experiment)
    identity.check_inputs(f"--repeat {run.path}", run.attributes, files, "leave --repeat out")
    return run


def changes(run: Run, ranks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each change of software, processor and arithmetic since a run."""
    texts = {"packages": provenance.packages(), "machine": provenance.machine()}
    differences = _changes(run, texts, identity.arithmetic_of(ranks))
    lines = [f"{change} in {run.path}" for change in differences]
    if INSTRUCTIONS not in run.arithmetic():
        lines.append(f"{run.path} does not record the instruction set of torch: bits may differ")
    return lines


def _changes(
    run: Run, now: Mapping[str, Mapping[str, str]], arithmetic: Arithmetic
) -> list[Change]:
    """Return the changes since a run; now: the texts `packages` and `machine`."""
    lines = []
    for what, texts in now.items():
        before = json.loads(run.texts.get(what, "{}"))
        lines += [
            Change(name, before[name], text)
            for name, text in texts.items()
            if name in before and name not in VARIABLE and before[name] != text
        ]
    return lines + identity.changes(run.arithmetic(), arithmetic)


def verdict(before: Run, after: Run) -> str:
    """Return a text that compares the final parameters of a repetition with those of the run."""
    was, now = (str(x.attributes.get("parameters_sha256", "")) for x in (before, after))
    if not was:
        return f"{before.path} has no final parameters to compare: it is {before.status}"
    if was == now:
        return f"the same parameters as {before.path}, to the bit"
    if not after.step_mask().all():
        return f"other parameters than {before.path}: an asynchronous run depends on its timing"
    texts = {what: json.loads(after.texts.get(what, "{}")) for what in ("packages", "machine")}
    reasons = "; ".join(map(str, _changes(before, texts, after.arithmetic())))
    return (
        f"OTHER parameters than {before.path}, SHA-256 {was[:12]}..., here {now[:12]}...: "
        f"{reasons or 'no change of software, processor or arithmetic is recorded'}"
    )
