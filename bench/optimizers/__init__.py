"""Base optimisers: one step of every row, in place."""

from bench.optimizers.adam import Adam, AdamW
from bench.optimizers.lamb import LAMB
from bench.optimizers.lars import LARC, LARS
from bench.optimizers.protocol import Optimizer
from bench.optimizers.sgd import SGD

__all__ = ["LAMB", "LARC", "LARS", "OPTIMIZERS", "SGD", "Adam", "AdamW", "Optimizer"]

OPTIMIZERS: dict[str, type[Optimizer]] = {
    "sgd": SGD,
    "adam": Adam,
    "adamw": AdamW,
    "lars": LARS,
    "larc": LARC,
    "lamb": LAMB,
}
"""Optimiser by name."""
