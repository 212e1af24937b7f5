"""Base optimisers: one step of every row, in place; one optimiser, one file."""

from bench.runtime.optimizers.adam import Adam
from bench.runtime.optimizers.adamw import AdamW
from bench.runtime.optimizers.lamb import LAMB
from bench.runtime.optimizers.larc import LARC
from bench.runtime.optimizers.lars import LARS
from bench.runtime.optimizers.protocol import Optimizer
from bench.runtime.optimizers.sgd import SGD

__all__ = ["LAMB", "LARC", "LARS", "OPTIMIZERS", "SGD", "Adam", "AdamW", "Optimizer"]

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "lars": LARS,
    "larc": LARC,
    "lamb": LAMB,
}
"""Optimiser by name: the only list."""
