"""Inputs of a sweep: finished results of other data are named, and no others join them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from bench.common.spec import UserError
from slurm.case import TRAIN
from slurm.site import CHECKOUT
from slurm.states import State


def changed_inputs(states: Sequence[State]) -> list[str]:
    """Return a text for each input that has changed since results of it were finished."""
    results = Counter(x for state in states for x in _changes(state))
    return [
        f"{n} finished result{'s are' if n > 1 else ' is'} {text}" for text, n in results.items()
    ]


def check_inputs(states: Sequence[State]) -> None:
    """Check that the finished results are of the inputs of now. Errors: UserError."""
    for line in changed_inputs(states):
        raise UserError(f"{line}: restore the file, or give another --out")


def _changes(state: State) -> list[str]:
    case = state.entry.case
    if case.program != TRAIN or not state.inputs:
        return []
    from bench.runtime import identity
    from bench.runtime.experiment import Experiment
    from bench.runtime.options import TABLE

    try:
        experiment = Experiment.resolve(TABLE.build(case.options), case.geometry.ranks)
    except UserError:  # the file of a topology is gone: its results cannot be compared
        return []
    return identity.changed_inputs(state.inputs, identity.inputs(experiment, CHECKOUT))[0]
