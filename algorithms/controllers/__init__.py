"""Controllers, which decide options of an algorithm while training, and their registry."""

from algorithms.controllers.adacomm import AdaCommRule
from algorithms.controllers.fixed import Fixed
from algorithms.controllers.phases import Phases
from algorithms.controllers.poly_ts import PolyTS
from algorithms.controllers.protocol import Controller
from algorithms.controllers.qsr import QSR
from algorithms.controllers.thompson import Thompson

CONTROLLERS: dict[str, type[Controller]] = {
    "fixed": Fixed,
    "phases": Phases,
    "adacomm": AdaCommRule,
    "qsr": QSR,
    "thompson": Thompson,
    "poly_ts": PolyTS,
}
"""Registry of controllers by name."""
