"""What the programs of this room share: how they begin and end, and where jobs start."""

from __future__ import annotations

from pathlib import Path

from bench.common.cli import run

__all__ = ["CHECKOUT", "run"]

CHECKOUT = Path(__file__).resolve().parent.parent
"""Where jobs start."""
