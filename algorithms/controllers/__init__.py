"""Controllers, which decide options of an algorithm while training, and their registry."""

from algorithms.controllers.fixed import Fixed
from algorithms.controllers.phases import Phases
from algorithms.controllers.protocol import Controller

CONTROLLERS: dict[str, type[Controller]] = {
    "fixed": Fixed,
    "phases": Phases,
}
"""Registry of controllers by name."""
